//! Comparing a text with the one kept in the repository.

use std::path::PathBuf;

/// Compares `text` with `tests/golden/<name>.txt`. With `UPDATE_GOLDEN=1` in the environment it writes the file
/// instead; the change is then reviewed like any other.
pub(crate) fn check(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != text {
        let lines = kept.lines().chain(std::iter::repeat("")).zip(text.lines());
        let changed: Vec<String> = lines
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(n, (a, b))| format!("{:>3} - {a}\n    + {b}", n + 1))
            .collect();
        panic!("{name} differs (UPDATE_GOLDEN=1 takes the new one):\n{}", changed.join("\n"));
    }
}
