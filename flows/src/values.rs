//! What steps gave, for showing: kept only for a run that asks for it, masked, and bounded.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use zerver_telemetry::redact::{MASK, Redaction};

/// The most values that one run keeps.
pub const VALUES_MAX: usize = 256;
/// The most bytes of one value, written as JSON; of a longer one only its length is kept.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The values of one run's slots, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Values {
    rules: Arc<Redaction>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    values: Vec<(Arc<str>, Value)>,
    lost: u32,
}

impl Values {
    /// For [`Env::values`](crate::Env::values). What must not be shown is masked by these rules as it is kept.
    #[must_use]
    pub fn new(rules: Arc<Redaction>) -> Arc<Self> {
        Arc::new(Self { rules, kept: Mutex::default() })
    }

    /// Every value so far, by the slot's path (`price`, `price.2`, `both.one`).
    #[must_use]
    pub fn read(&self) -> Vec<(Arc<str>, Value)> {
        self.kept.lock().values.clone()
    }

    /// Values beyond [`VALUES_MAX`].
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.kept.lock().lost
    }

    pub(crate) fn keep(&self, slot: Arc<str>, is_sensitive: bool, value: Value) {
        let mut value = if is_sensitive { MASK.into() } else { value };
        self.rules.value(&mut value);
        let bytes = value.to_string().len();
        if bytes > VALUE_BYTES_MAX {
            value = json!({ "too_long": bytes });
        }
        let mut kept = self.kept.lock();
        if kept.values.len() < VALUES_MAX {
            kept.values.push((slot, value));
        } else {
            kept.lost = kept.lost.saturating_add(1);
        }
    }
}

/// A value of any type, to be shown as well as its type allows: the compiler takes the first of [`AsJson`] and
/// [`AsName`] that fits. For the code that `#[flow]` writes.
#[doc(hidden)]
#[derive(Debug)]
pub struct Shown<'v, T: ?Sized>(pub &'v T);

/// Shows values that can be written as JSON.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "what a step of this flow gives is not known, because of another error in it",
    label = "mend the other error first"
)]
pub trait AsJson {
    /// The value.
    fn __shown(&self) -> Value;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> AsJson for &Shown<'_, T> {
    fn __shown(&self) -> Value {
        serde_json::to_value(self.0).unwrap_or_else(|error| json!({ "not_json": error.to_string() }))
    }
}

/// Shows of other values what they are: their text might hold what nobody has masked.
#[doc(hidden)]
pub trait AsName {
    /// The name of the value's type.
    fn __shown(&self) -> Value;
}

impl<T: ?Sized> AsName for Shown<'_, T> {
    fn __shown(&self) -> Value {
        json!({ "type": std::any::type_name::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct User {
        name: &'static str,
        token: &'static str,
    }
    struct Opaque;

    #[test]
    #[expect(clippy::needless_borrow, reason = "the compiler chooses by the number of borrows, as in generated code")]
    fn a_value_is_shown_as_well_as_its_type_allows() {
        let values = Values::default();
        let user = User { name: "Ada", token: "t" };
        values.keep("user".into(), false, (&&Shown(&user)).__shown());
        values.keep("opaque".into(), false, (&&Shown(&Opaque)).__shown());
        values.keep("hidden".into(), true, (&&Shown(&7)).__shown());
        values.keep("long".into(), false, (&&Shown("x".repeat(20_000).as_str())).__shown());
        let read: Vec<Value> = values.read().into_iter().map(|(_, value)| value).collect();
        assert_eq!(read[0], json!({ "name": "Ada", "token": MASK }));
        assert!(read[1]["type"].as_str().unwrap().ends_with("Opaque"));
        assert_eq!((&read[2], &read[3]), (&Value::from(MASK), &json!({ "too_long": 20_002 })));
        (0..300).for_each(|n| values.keep("n".into(), false, n.into()));
        assert_eq!((values.read().len(), values.lost()), (VALUES_MAX, 48));
    }
}
