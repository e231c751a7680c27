//! What the macros say of wrong flows is part of their contract.

#[test]
fn messages() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/passes.rs");
    for wrong in [
        "read_never_written",
        "read_before_written",
        "two_writers",
        "wrong_type",
        "optional_read",
        "missing_argument",
        "unknown_words",
        "not_a_line",
        "not_a_step",
        "plain_function",
        "not_send",
        "joins",
        "undoing",
        "not_exposed",
        "not_json",
    ] {
        cases.compile_fail(format!("tests/ui/{wrong}.rs"));
    }
}
