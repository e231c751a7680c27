//! What `pay` remembers: the charges, each under its key, so that none is made twice.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// The most charges it remembers; after them it takes no more.
const CHARGES_MAX: usize = 10_000;

/// The charges so far, in their order.
#[derive(Debug, Default)]
pub(crate) struct Till(Mutex<Vec<Charge>>);

#[derive(Debug)]
struct Charge {
    key: String,
    user: String,
    cents: u64,
    refunded: bool,
}

impl Till {
    /// The receipt of the charge with this key, which is made unless it was before; and whether it is new. None when
    /// the till is full.
    pub(crate) fn charge(&self, key: &str, user: &str, cents: u64) -> Option<(Value, bool)> {
        let mut charges = self.charges();
        let known = charges.iter().position(|charge| charge.key == key);
        let place = match known {
            Some(place) => place,
            None if charges.len() == CHARGES_MAX => return None,
            None => {
                charges.push(Charge { key: key.to_owned(), user: user.to_owned(), cents, refunded: false });
                charges.len() - 1
            }
        };
        Some((receipt(place, &charges[place]), known.is_none()))
    }

    /// Gives back what was charged; doing it again changes nothing. None when there is no such charge.
    pub(crate) fn refund(&self, id: &str) -> Option<Value> {
        let place = id.strip_prefix("charge-")?.parse::<usize>().ok()?.checked_sub(1)?;
        let mut charges = self.charges();
        let charge = charges.get_mut(place)?;
        charge.refunded = true;
        Some(receipt(place, charge))
    }

    /// The receipts of all charges, in their order.
    pub(crate) fn list(&self) -> Value {
        self.charges().iter().enumerate().map(|(place, charge)| receipt(place, charge)).collect()
    }

    fn charges(&self) -> MutexGuard<'_, Vec<Charge>> {
        // Every change is whole in itself, so what another thread's panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receipt(place: usize, charge: &Charge) -> Value {
    let Charge { user, cents, refunded, .. } = charge;
    json!({ "id": format!("charge-{}", place + 1), "user": user, "cents": cents, "refunded": refunded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_charged_once_and_a_charge_is_refunded_once() {
        let till = Till::default();
        let (receipt, new) = till.charge("a", "ada", 5).unwrap();
        assert_eq!((&receipt["id"], new), (&json!("charge-1"), true));
        assert_eq!(till.charge("a", "ada", 5), Some((receipt, false)));
        assert!(till.charge("b", "ada", 5).unwrap().1, "another key is another charge");
        let refunded = till.refund("charge-1").unwrap();
        assert_eq!((&refunded["refunded"], till.refund("charge-1")), (&json!(true), Some(refunded.clone())));
        assert_eq!([till.refund("charge-0"), till.refund("charge-3"), till.refund("1")], [None, None, None]);
        let list = till.list();
        assert_eq!((list[0]["refunded"].as_bool(), list[1]["refunded"].as_bool()), (Some(true), Some(false)));
    }
}
