//! Which route a request takes: host, path, method, headers and query, with a precedence that is fixed at load.
//!
//! Of the routes that match, the one wins that is the more exact, in this order: an exact host before a wildcard before
//! any; the path with the earlier fixed segment (`/carts/mine` before `/carts/{id}` before `/{*rest}`); one that names
//! methods before one that does not; more conditions on headers and query before fewer; the earlier in the file.
//! Two routes that could not be told apart by anything but their order are refused at load.

pub mod pattern;
pub mod table;
