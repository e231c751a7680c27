//! The values of the `OTEL_*` variables that are no plain numbers: protocols, packings, lists of pairs.

use std::collections::BTreeMap;

use zerver_telemetry::export::variables as otlp;
use zerver_telemetry::percent::decode;

use super::{OtlpCompression, OtlpProtocol};
use crate::config::placed::Placed;
use crate::config::secret::Secret;

pub(super) fn protocol(text: &str) -> Result<OtlpProtocol, String> {
    match text {
        otlp::OTEL_EXPORTER_OTLP_PROTOCOL_GRPC => Ok(OtlpProtocol::Grpc),
        otlp::OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF => Ok(OtlpProtocol::Http),
        "http/json" => Err("is not spoken; every collector that takes JSON takes protobuf".into()),
        _ => Err("is no protocol of OTLP".into()),
    }
}

pub(super) fn compression(text: &str) -> Result<OtlpCompression, String> {
    match text {
        "none" => Ok(OtlpCompression::None),
        "gzip" => Ok(OtlpCompression::Gzip),
        _ => Err("is no compression that every collector takes".into()),
    }
}

/// A list, of which any one may be OTLP.
pub(super) fn exporter(text: &str, metrics: bool) -> Result<bool, String> {
    let mut send = false;
    for name in text.split(',').map(str::trim) {
        match name {
            "otlp" => send = true,
            "none" => {}
            "prometheus" if metrics => {}
            _ => return Err(format!("names `{name}`, which is not spoken")),
        }
    }
    Ok(send)
}

pub(super) fn headers(text: &str) -> Result<BTreeMap<String, Placed<Secret>>, String> {
    let hidden = |(name, value): (String, String)| (name, Placed::nowhere(Secret::new(value)));
    Ok(pairs(text)?.into_iter().map(hidden).collect())
}

/// `key=value,key=value`, values percent-encoded (W3C Baggage, as the specification prescribes).
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or("is not `key=value`, with commas in between")?;
        Ok((key.trim().to_owned(), decode(value.trim()).into_owned()))
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_may_be_spaced_and_hold_equals_signs() {
        let read = pairs(" a = 1%2C2 ,b=c=d,, ").unwrap();
        assert_eq!(read, [("a".into(), "1,2".into()), ("b".to_owned(), "c=d".to_owned())]);
        assert!(pairs("a").is_err());
        assert!(!format!("{:?}", headers("x-key=hunter2").unwrap()).contains("hunter2"));
    }
}
