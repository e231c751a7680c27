//! Does the comparison find what is wrong? Known faults in generated requests, and properties over random ones.

mod flow;
mod accuracy;
mod marks;
mod properties;
