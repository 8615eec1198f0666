//! The tower adapter over real HTTP: what reaches the next handler and the client, byte for byte.

mod abandoned;
mod bodies;
mod chain;
mod chain_call;
mod chaos;
mod contract;
mod examples;
mod fail_open;
mod failure;
mod framing;
mod guests;
mod hang_up;
mod replace;
mod replacements;
mod request;
mod request_streams;
mod streaming;
mod streams;
mod support;
mod trailers;
mod upgrade;
