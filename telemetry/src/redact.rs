//! What must not be shown: secrets in values, headers and query strings, masked in one place for everybody who shows any.
//!
//! Masking is by name and by form: fields and headers whose name says that they hold a secret, and texts that look like
//! one (a JSON Web Token, a payment card number). It is for showing, not for keeping: what is masked is gone.

use serde_json::Value;

/// Stands in the place of what is not shown.
pub const MASK: &str = "‹masked›";

/// Words that a name of a secret holds, without case, hyphens and underscores.
const SECRET: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "authorization",
    "credential",
    "cookie",
    "privatekey",
    "sessionid",
    "signature",
    "cardnumber",
    "cvv",
    "cvc",
    "iban",
    "ssn",
];

/// Whether what goes by this name is not shown: `authorization`, `X-Api-Key`, `card_number`, `clientSecret`.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRET.iter().any(|word| match word.len() {
        // Three letters may stand in any word; they count at its end only.
        0..=3 => plain.ends_with(word),
        _ => plain.contains(word),
    })
}

/// Whether a text looks like a secret whatever its name: a JSON Web Token (RFC 7519), a payment card number (12 to 19
/// digits that pass the Luhn check).
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    is_jwt(text) || is_card(text)
}

fn is_jwt(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    text.starts_with("eyJ") && text.split('.').count() == 3 && text.split('.').all(plain)
}

fn is_card(text: &str) -> bool {
    let written = |c: char| c.is_ascii_digit() || c == ' ' || c == '-';
    if !text.chars().all(written) {
        return false;
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    // ISO/IEC 7812: each second digit from the right is doubled.
    let luhn = digits.iter().rev().enumerate().map(|(n, digit)| match (n % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) => twice / 10 + twice % 10,
    });
    (12..=19).contains(&digits.len()) && luhn.sum::<u32>() % 10 == 0
}

/// Masks everything in a value that must not be shown.
pub fn mask(value: &mut Value) {
    match value {
        Value::String(text) if looks_secret(text) => *value = MASK.into(),
        Value::Number(number) if is_card(&number.to_string()) => *value = MASK.into(),
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::Object(map) => {
            for (name, value) in map {
                if is_secret_name(name) && !value.is_null() {
                    *value = MASK.into();
                } else {
                    mask(value);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_known_by_their_name() {
        for name in
            ["Authorization", "x-api-key", "set-cookie", "clientSecret", "access_token", "user_ssn", "card-number"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["author", "key", "content-type", "session", "ssnake", "cents", "cvcode"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl";
        for text in [jwt, &format!("Bearer {jwt}"), "4111 1111 1111 1111", "4111111111111111"] {
            assert!(looks_secret(text), "{text}");
        }
        for text in ["4111111111111112", "a.b.c", "eyJ", "2026-11-22", ""] {
            assert!(!looks_secret(text), "{text}");
        }
    }

    #[test]
    fn values_are_masked_wherever_the_secret_stands() {
        let mut value = json!({
            "user": { "name": "Ada", "password": "x", "tokens": ["a", "b"], "secret": null },
            "list": [{ "cvv": 123 }, "4111 1111 1111 1111", 4111111111111111_u64],
            "cents": 990,
        });
        mask(&mut value);
        let expected = json!({
            "user": { "name": "Ada", "password": MASK, "tokens": MASK, "secret": null },
            "list": [{ "cvv": MASK }, MASK, MASK],
            "cents": 990,
        });
        assert_eq!(value, expected);
    }
}
