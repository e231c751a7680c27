//! The configuration: one page, the environment over it, and problems that say where and what would be right.

pub mod duration;
pub mod secret;
pub mod problem;
pub mod placed;
pub mod flows;
pub mod logs;
pub mod redact;
pub mod otlp;
pub mod slo;
pub mod sampling;
pub mod propagation;
pub mod document;
pub mod variable;
pub mod env;
pub mod file;
pub mod load;
