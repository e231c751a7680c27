//! Flows written in the page: handed to the flow engine's own loader, whose findings become problems of the page.
