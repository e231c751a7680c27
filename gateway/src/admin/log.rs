//! The page `/log`: how much the program says, changed while it runs, for good or for a while.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::answer::{Reply, error, json};
use crate::config::duration;
use crate::logs::{Logging, NotChanged};

/// The longest time that a level may be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers what is asked of `/log`. Runs on the admin listener's runtime.
pub(super) fn answer(logging: &Arc<Logging>, method: &Method, level: Option<String>, time: Option<String>) -> Reply {
    let changed = match *method {
        Method::GET | Method::HEAD => Ok(()),
        Method::PUT => {
            let Some(level) = level else {
                return error(
                    StatusCode::BAD_REQUEST,
                    "say which: PUT /log?level=debug, or PUT /log?level=info,zerver::admission=debug",
                );
            };
            let time = match time.as_deref().map(duration::parse).transpose() {
                Ok(time) if time.is_none_or(|time| time <= LONGEST) => time,
                Ok(_) => return error(StatusCode::BAD_REQUEST, "`for` is a day at most; leave it out for good"),
                Err(wrong) => return error(StatusCode::BAD_REQUEST, &format!("`for` is a time such as 10m: {wrong}")),
            };
            wish(logging, &level, time)
        }
        Method::DELETE => {
            logging.forget(None);
            Ok(())
        }
        _ => return error(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT or DELETE"),
    };
    match changed {
        Ok(()) => json(&logging.levels()),
        Err(bad @ NotChanged::Bad(_)) => error(StatusCode::BAD_REQUEST, &bad.to_string()),
        Err(not_ours @ NotChanged::NotOurs) => error(StatusCode::CONFLICT, &not_ours.to_string()),
    }
}

fn wish(logging: &Arc<Logging>, level: &str, time: Option<Duration>) -> Result<(), NotChanged> {
    let before = logging.levels().level;
    match time {
        Some(time) => logging.wish_for(level, time)?,
        None => logging.wish(level).map(|_| ())?,
    }
    tracing::info!(before, now = level, "the log's levels were changed by an admin request");
    Ok(())
}
