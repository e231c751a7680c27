//! Tenants and classes.
