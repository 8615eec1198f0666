//! HTTP/2 upstreams, frame by frame.

mod heads;
mod refusals;
mod silence;
mod uploads;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::task::JoinHandle;

use super::{request, soon};
use crate::body::{BoxBody, empty};
use crate::proxy::Proxy;

fn send(proxy: &Arc<Proxy>, method: &'static str, body: BoxBody) -> JoinHandle<Response<BoxBody>> {
    let proxy = proxy.clone();
    tokio::spawn(async move { proxy.respond(&mut request(method, body)).await })
}

fn get(proxy: &Arc<Proxy>) -> JoinHandle<Response<BoxBody>> {
    send(proxy, "GET", empty())
}

async fn status(response: JoinHandle<Response<BoxBody>>) -> u16 {
    soon(response).await.unwrap().status().as_u16()
}

fn failures(proxy: &Proxy) -> u64 {
    proxy.addresses().map(|address| address.failures).sum()
}

/// Lets all tasks run until none can make progress.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
