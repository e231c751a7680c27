//! From pingora's errors to ours.

use std::time::Duration;

use pingora_core::{Error as PingoraError, ErrorSource, ErrorType};

use super::proxying::NO_PEER;
use crate::error::Error;

/// What a pingora error is to us. `time_left` tells an upstream's timeout from the request's own.
pub(crate) fn classify(e: &PingoraError, time_left: Option<Duration>) -> Error {
    let own_time = time_left.is_some_and(|left| left <= Duration::from_millis(2));
    match (e.esource(), e.etype()) {
        (_, ErrorType::HTTPStatus(413)) => Error::BodyTooLarge,
        (_, ErrorType::Custom(NO_PEER)) => Error::NoPeer,
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Error::BodyTimeout,
        (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader) => Error::BadRequest("it breaks the rules of HTTP"),
        // HTTP/2 errors among them: behind a whole head, they are streams that the client has reset.
        (ErrorSource::Downstream, _) => Error::ClientGone,
        (_, ErrorType::ConnectTimedout | ErrorType::ReadTimedout | ErrorType::WriteTimedout) if own_time => {
            Error::Deadline
        }
        (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Error::UpstreamTimeout,
        (
            _,
            ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::BindError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout,
        ) => Error::UpstreamConnect,
        (ErrorSource::Upstream, _) => Error::UpstreamReset,
        _ => Error::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_told_apart() {
        let read = PingoraError::explain(ErrorType::ReadTimedout, "late").into_up();
        assert_eq!(classify(&read, None), Error::UpstreamTimeout);
        assert_eq!(classify(&read, Some(Duration::ZERO)), Error::Deadline);
        assert_eq!(classify(&read, Some(Duration::from_secs(1))), Error::UpstreamTimeout);
        let connect = PingoraError::explain(ErrorType::ConnectRefused, "no").into_up();
        assert_eq!(classify(&connect, None), Error::UpstreamConnect);
        let gone = PingoraError::explain(ErrorType::ConnectionClosed, "bye").into_down();
        assert_eq!(classify(&gone, None), Error::ClientGone);
        let reset = PingoraError::explain(ErrorType::H2Error, "stream reset").into_down();
        assert_eq!(classify(&reset, None), Error::ClientGone);
    }
}
