//! What a person writes in the settings page, and how its words become values.

pub mod duration;
