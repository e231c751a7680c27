//! Flows in virtual time: what the engine promises, a room for each promise.

mod engine {
    mod checkout;
    mod semantics;
    mod nested;
    mod concurrent;
    mod language;
    mod policy;
    mod saga;
    mod refusal;
    mod random;
    mod streaming;
    mod upload;
    mod json;
    mod sse;
    mod declare;
    mod declare_verbs;
    mod declare_language;
    mod declare_problems;
    mod exposed;
    mod lint;
}
