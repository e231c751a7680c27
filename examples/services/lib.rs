//! Six small HTTP services for the checkout examples to call: accounts, carts, prices (twice), pay and orders.
//!
//! Who asks decides what goes wrong: `ada` is fine, `bob` has no profile, the first answer of `pay` to `cat` is lost, the
//! order of `dan` is refused after he has paid, the first price for `eve` never comes, and nobody else is known.

mod till;
mod answer;
mod services;

pub use services::Services;
