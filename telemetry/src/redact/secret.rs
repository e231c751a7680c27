//! How a secret is known without being told: by the name it goes by, or by its form.

/// Words that a name of a secret holds, without case, hyphens and underscores.
const WORDS: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "jwt",
    "otp",
    "apikey",
    "accesskey",
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

/// The first letters of all words, a bit each.
const FIRST_LETTERS: u32 = {
    let (mut letters, mut n) = (0, 0);
    while n < WORDS.len() {
        letters |= 1 << (WORDS[n].as_bytes()[0] & 31);
        n += 1;
    }
    letters
};

/// How keys and tokens of well-known services begin, each followed by letters, digits, `-` and `_`.
const PREFIXES: [&str; 14] = [
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk_live_",
    "rk_live_",
    "sk-ant-",
    "xoxb-",
    "xoxp-",
    "npm_",
];

/// The least length of such a key; the shortest is an AWS access key id with twenty.
const KEY_LEN: usize = 20;

/// Whether what goes by this name is not shown: `authorization`, `X-Api-Key`, `card_number`, `clientSecret`.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let plain: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()).collect();
    // Names are asked for by the thousand: one walk, and a word is compared only where its first letter stands.
    (0..plain.len()).any(|at| {
        let rest = &plain[at..];
        FIRST_LETTERS & (1 << (rest[0] & 31)) != 0
            && WORDS.iter().any(|word| {
                let word = word.as_bytes();
                // Three letters may stand in any word; they count at its end only.
                word[0] == rest[0] && if word.len() <= 3 { rest == word } else { rest.starts_with(word) }
            })
    })
}

/// Whether a text looks like a secret whatever its name: a JSON Web Token (RFC 7519) or the beginning of one, a payment
/// card number (12 to 19 digits that pass the Luhn check), a key of a well-known service by its prefix.
#[must_use]
pub fn looks_secret(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    is_jwt(text) || is_card(text) || is_known_key(text)
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// `eyJ` is how `{"` begins in base64url. A text that was cut has not all three parts.
fn is_jwt(text: &str) -> bool {
    text.starts_with("eyJ") && text.len() >= 16 && text.bytes().all(|b| plain(b) || b == b'.')
}

fn is_known_key(text: &str) -> bool {
    text.len() >= KEY_LEN && PREFIXES.iter().any(|prefix| text.starts_with(prefix)) && text.bytes().all(plain)
}

/// Whether a text or number is a payment card number.
pub(super) fn is_card(text: &str) -> bool {
    if text.len() < 12 || text.len() > 40 || !text.bytes().all(|b| b.is_ascii_digit() || b == b' ' || b == b'-') {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_name() {
        for name in [
            "Authorization",
            "x-api-key",
            "set-cookie",
            "clientSecret",
            "access_token",
            "user_ssn",
            "card-number",
            "AWSAccessKeyId",
            "X-Goog-Signature",
            "jsessionid",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["author", "key", "content-type", "session", "ssnake", "cents", "cvcode", "http.route"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_known_by_their_form() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl";
        for text in [
            jwt,
            &jwt[..24],
            &format!("Bearer {jwt}"),
            "4111 1111 1111 1111",
            "4111111111111111",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        ] {
            assert!(looks_secret(text), "{text}");
        }
        for text in
            ["4111111111111112", "a.b.c", "eyJ", "2026-11-22", "", "AKIA", "npm_install", "sk_live_ no key at all"]
        {
            assert!(!looks_secret(text), "{text}");
        }
    }
}
