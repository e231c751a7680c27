//! The values of the `OTEL_*` variables that are no plain numbers: protocols, packings, lists of pairs.

use std::collections::BTreeMap;

use zerver_telemetry::export::variables as otlp;

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
        Ok((key.trim().to_owned(), percent_decoded(value.trim())))
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_forgiving() {
        for (text, expected) in [("a%20b", "a b"), ("100%", "100%"), ("%zz%41", "%zzA"), ("%C3%BC", "ü")] {
            assert_eq!(percent_decoded(text), expected);
        }
    }

    #[test]
    fn pairs_may_be_spaced_and_hold_equals_signs() {
        let read = pairs(" a = 1%2C2 ,b=c=d,, ").unwrap();
        assert_eq!(read, [("a".into(), "1,2".into()), ("b".to_owned(), "c=d".to_owned())]);
        assert!(pairs("a").is_err());
        assert!(!format!("{:?}", headers("x-key=hunter2").unwrap()).contains("hunter2"));
    }
}
