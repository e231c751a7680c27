//! How a step may end other than with its value: with a failure, or with the flow's answer.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use http::StatusCode;

use crate::adapter::{EffectError, Refusal};
use crate::request::Req;
use crate::response::Response;
use crate::upload::UploadError;

/// What a step returns: its slot's value, or how the flow ends early.
pub type Result<T, E = Exit> = std::result::Result<T, E>;

/// How a step ends without a value.
#[derive(Debug)]
pub enum Exit {
    /// It failed; an optional step leaves its slot empty, a required one ends the flow.
    Fail(Box<Fail>),
    /// The flow is answered; what still runs is cancelled. See [`Fx::done`](crate::Fx::done).
    Done(Box<Response>),
    /// Another flow answers instead; what still runs is cancelled. See [`Fx::replace`](crate::Fx::replace).
    Replace(Box<Replace>),
}

/// The flow that answers instead, and what it is asked.
#[derive(Debug)]
pub struct Replace {
    /// The flow's name.
    pub slug: String,
    /// Its request.
    pub req: Req,
}

/// Whose side a failure is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// The request is wrong.
    Client,
    /// Another system failed or answered what the step cannot use.
    Upstream,
    /// Time ran out.
    Deadline,
    /// The flow decided so.
    Flow,
    /// The flow's code or its configuration is wrong.
    Internal,
}

impl Domain {
    /// The word for this domain in problem documents and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Deadline => "deadline",
            Self::Flow => "flow",
            Self::Internal => "internal",
        }
    }
}

/// Why a step, and with it perhaps the flow, failed: one text for the client, one for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// Whose side it is on.
    pub domain: Domain,
    /// The status the client gets when this ends the flow.
    pub status: StatusCode,
    /// A stable word for programs, dashboards and the timeline (`upstream_status`, `step_timeout`, …).
    pub code: &'static str,
    /// What the client may read.
    pub message: Cow<'static, str>,
    /// What only the operator may read.
    pub detail: Option<Box<str>>,
    /// The status another system answered with, where that is the reason.
    pub upstream_status: Option<StatusCode>,
    /// After how many seconds that system said that it may be asked again (RFC 9110, section 10.2.3).
    pub retry_after_s: Option<u16>,
    /// What the gate of another system said, where its refusal is the reason: nothing broke, there was no room.
    pub refused: Option<Refusal>,
    /// The step that failed; the driver fills it in.
    pub step: Option<Box<str>>,
}

impl Fail {
    /// A failure of the flow's own making: `status` and what the client may read.
    #[must_use]
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        let (domain, code) = match status.as_u16() {
            404 => (Domain::Client, "not_found"),
            401 | 403 => (Domain::Client, "denied"),
            400..=499 => (Domain::Client, "bad_request"),
            504 => (Domain::Deadline, "timeout"),
            502 | 503 => (Domain::Upstream, "upstream_failed"),
            _ => (Domain::Flow, "flow_failed"),
        };
        Self {
            domain,
            status,
            code,
            message: message.into(),
            detail: None,
            upstream_status: None,
            retry_after_s: None,
            refused: None,
            step: None,
        }
    }

    /// A failure of the flow's code: status 500, and a detail that only the operator reads.
    #[must_use]
    pub fn internal(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            domain: Domain::Internal,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code,
            message: Cow::Borrowed("the flow failed"),
            detail: Some(detail.into().into()),
            upstream_status: None,
            retry_after_s: None,
            refused: None,
            step: None,
        }
    }

    /// A failure of another system: status 502.
    #[must_use]
    pub fn upstream(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            domain: Domain::Upstream,
            status: StatusCode::BAD_GATEWAY,
            message: Cow::Borrowed("a service behind this one failed"),
            ..Self::internal(code, detail)
        }
    }

    /// The failure that an effect's error is for the step.
    pub(crate) fn from_effect(error: &EffectError) -> Self {
        let detail = error.to_string();
        match error {
            EffectError::UnknownTarget(_) | EffectError::BadCall(_) => Self::internal(error.code(), detail),
            EffectError::Timeout => Self::timeout(error.code(), detail),
            EffectError::Refused(refusal) => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                message: format!("a service behind this one has no room now ({})", refusal.reason).into(),
                refused: Some(*refusal),
                ..Self::upstream(error.code(), detail)
            },
            EffectError::Connect(_) | EffectError::Broken(_) | EffectError::TooLarge { .. } => {
                Self::upstream(error.code(), detail)
            }
        }
    }

    /// A failure for want of time: status 504.
    #[must_use]
    pub fn timeout(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            domain: Domain::Deadline,
            status: StatusCode::GATEWAY_TIMEOUT,
            message: Cow::Borrowed("the answer took too long"),
            ..Self::internal(code, detail)
        }
    }

    /// The same with another code.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// The same with a detail for the operator.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }
}

/// The operator's line: step, code, status and detail.
impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "step `{step}`: ")?;
        }
        write!(f, "{} ({})", self.detail.as_deref().unwrap_or(&self.message), self.code)
    }
}

impl From<Fail> for Exit {
    fn from(fail: Fail) -> Self {
        Self::Fail(Box::new(fail))
    }
}

/// Any error ends a step with status 500 and its text as the operator's detail; an effect's error ends it as the
/// failure of the other system that it is.
impl<E: Error + Send + Sync + 'static> From<E> for Exit {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<EffectError>() {
            Some(effect) => Fail::from_effect(effect).into(),
            None => {
                let mut text = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    text = format!("{text}: {cause}");
                    source = cause.source();
                }
                Fail::internal("step_error", text).into()
            }
        }
    }
}

/// Says which status a missing value or an error means.
///
/// ```
/// use zerver_flows::{OrFail, Result};
///
/// fn tenant(header: Option<&str>) -> Result<u32> {
///     header.or_fail(400, "no tenant")?.parse::<u32>().or_fail(400, "the tenant is not a number")
/// }
/// assert!(tenant(Some("7")).is_ok() && tenant(None).is_err());
/// ```
pub trait OrFail<T> {
    /// The value, or a failure with this status and this text for the client. A status outside 400..=599 becomes 500.
    ///
    /// # Errors
    /// [`Exit::Fail`] when there is no value.
    fn or_fail(self, status: u16, message: &'static str) -> Result<T>;
}

fn refusal(status: u16, message: &'static str) -> Fail {
    let status = StatusCode::from_u16(status).ok().filter(|s| s.is_client_error() || s.is_server_error());
    Fail::new(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), message)
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, status: u16, message: &'static str) -> Result<T> {
        self.ok_or_else(|| refusal(status, message).into())
    }
}

impl<T, E: fmt::Display> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, status: u16, message: &'static str) -> Result<T> {
        self.map_err(|error| refusal(status, message).with_detail(error.to_string()).into())
    }
}

impl From<UploadError> for Fail {
    /// The client's doing: 413, 408, or 400 for a body that broke off.
    fn from(error: UploadError) -> Self {
        let (status, code, message) = match error {
            UploadError::TooLarge { .. } => (413, "body_too_large", "the body is too large"),
            UploadError::Timeout => (408, "body_timeout", "the body did not arrive in time"),
            UploadError::Broken => (400, "body_broken", "the body broke off"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, message).with_code(code).with_detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn fail(exit: Exit) -> Fail {
        match exit {
            Exit::Fail(fail) => *fail,
            _ => panic!("a failure was expected"),
        }
    }

    #[test]
    fn any_error_becomes_a_failure_that_tells_only_the_operator_why() {
        let failed = fail("x".parse::<u8>().unwrap_err().into());
        assert_eq!((failed.status.as_u16(), failed.domain, failed.code), (500, Domain::Internal, "step_error"));
        assert_eq!(
            (&*failed.message, failed.detail.as_deref()),
            ("the flow failed", Some("invalid digit found in string"))
        );
        let failed = fail(EffectError::Timeout.into());
        assert_eq!((failed.status.as_u16(), failed.domain), (504, Domain::Deadline));
    }

    #[test]
    fn a_refusal_keeps_the_gates_reason_and_its_time() {
        let refusal = Refusal { reason: "queue_wait", retry_after: Duration::from_secs(7) };
        let failed = fail(EffectError::Refused(refusal).into());
        assert_eq!((failed.status.as_u16(), failed.code, failed.refused), (503, "queue_wait", Some(refusal)));
        assert_eq!(failed.message, "a service behind this one has no room now (queue_wait)");
        // A step may give it another name; that it is a refusal stays.
        assert_eq!(failed.with_code("cart_is_busy").refused, Some(refusal));
    }

    #[test]
    fn a_status_says_whose_side_a_failure_is_on() {
        for (status, domain) in [
            (400, Domain::Client),
            (404, Domain::Client),
            (500, Domain::Flow),
            (502, Domain::Upstream),
            (504, Domain::Deadline),
            (200, Domain::Flow),
        ] {
            assert_eq!(fail(None::<()>.or_fail(status, "x").unwrap_err()).domain, domain, "{status}");
        }
    }
}
