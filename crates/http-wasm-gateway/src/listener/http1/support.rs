//! A connection for tests, whose handler echoes and records what it receives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Signals, serve};
use crate::body::{BoxBody, BoxError, boxed, full};
use crate::config::{ClientLimits, Listen};
use crate::exchange::{Abandoned, Answer, Client, Inbound};
use crate::listener::activity::Activity;
use crate::listener::request::Requests;
use crate::listener::trusted_proxies::TrustedProxies;
use crate::turns::TurnQueue;
use crate::unread_budget::UnreadBudget;

/// Echoes request bodies, and records requests. Some paths get other responses.
#[derive(Debug)]
pub(super) struct Echo {
    received: Mutex<Vec<String>>,
    unread_budget: Arc<UnreadBudget>,
    turn_queue: Arc<TurnQueue>,
}

impl Answer for Echo {
    async fn answer(&self, inbound: &mut Inbound, _: &Abandoned) -> Response<BoxBody> {
        let (head, body) = inbound.take().into_parts();
        let target = head.uri.to_string();
        let mut response = match target.as_str() {
            "/slow" => {
                sleep(Duration::from_secs(100)).await;
                Response::new(full("slow"))
            }
            "/unread" => Response::new(full("unread")),
            "/duplex" => return Response::new(body),
            "/tunnel" => {
                let side = inbound.tunnel.take().expect("it may switch");
                tokio::spawn(async move {
                    let mut upgraded = side.upgraded.await.expect("it switches");
                    let mut early = [0; 5];
                    upgraded.io.read_exact(&mut early).await.expect("early data");
                    upgraded.io.write_all(&early).await.expect("it is open");
                });
                let mut response = Response::new(full(""));
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                return response;
            }
            "/trailers" => {
                let trailers = [("x-sum", "1"), ("x-other", "2")];
                let trailers =
                    trailers.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
                let frames = [
                    Frame::data(Bytes::from_static(b"abc")),
                    Frame::trailers(trailers.into_iter().collect()),
                ];
                let stream = futures_util::stream::iter(frames.map(Ok::<_, BoxError>));
                let mut response = Response::new(boxed(StreamBody::new(stream)));
                response.headers_mut().insert("trailer", HeaderValue::from_static("X-Sum"));
                response
            }
            "/204" => {
                let mut response = Response::new(full(""));
                *response.status_mut() = StatusCode::NO_CONTENT;
                response
            }
            "/empty" => Response::new(BoxBody::empty()),
            "/broken" => {
                let frames = [Ok(Frame::data(Bytes::from_static(b"abc"))), Err(BoxError::from("broken"))];
                Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))))
            }
            _ => {
                let line = match body.collect().await {
                    Ok(body) => {
                        let trailers = body.trailers().map_or(0, http::HeaderMap::len);
                        let body = body.to_bytes();
                        let text = String::from_utf8_lossy(&body);
                        format!("{} {target} {:?} {text:?} {trailers}", head.method, head.version)
                    }
                    Err(_) => format!("{} {target} failed", head.method),
                };
                self.received.lock().unwrap().push(line);
                Response::new(full("ok"))
            }
        };
        response.headers_mut().insert("date", HeaderValue::from_static("now"));
        response
    }

    fn unread_budget(&self) -> &Arc<UnreadBudget> {
        &self.unread_budget
    }

    fn turn_queue(&self) -> &Arc<TurnQueue> {
        &self.turn_queue
    }

    fn refused(&self, inbound: Inbound, status: StatusCode) {
        let line =
            format!("refused {} {} {}", inbound.request.method(), inbound.request.uri(), status.as_u16());
        self.received.lock().unwrap().push(line);
    }
}

pub(super) struct Served {
    pub(super) client: DuplexStream,
    pub(super) echo: Arc<Echo>,
    pub(super) signals: Arc<Signals>,
    pub(super) task: JoinHandle<Result<(), BoxError>>,
}

pub(super) fn echo() -> Arc<Echo> {
    Arc::new(Echo {
        received: Mutex::default(),
        unread_budget: Arc::new(UnreadBudget::new(u64::MAX)),
        turn_queue: TurnQueue::new(),
    })
}

pub(super) fn requests(answer: Arc<Echo>, limits: ClientLimits) -> Requests<Echo> {
    let closing = watch::channel(false).1;
    Requests {
        answer,
        client: Client { addr: ([127, 0, 0, 1], 1).into(), tls: false },
        client_address: None,
        limits: Arc::new(limits),
        trusted_proxies: Arc::new(TrustedProxies::new(&Listen::default())),
        activity: Activity::new(Instant::now()),
        flushes: Arc::default(),
        closing: closing.clone(),
        abort: closing,
        refuse: false,
    }
}

pub(super) fn served(capacity: usize, limits: ClientLimits) -> Served {
    let (client, server) = duplex(capacity);
    let (echo, signals) = (echo(), Arc::<Signals>::default());
    let (requests, shared) = (requests(echo.clone(), limits), signals.clone());
    let task = tokio::spawn(async move {
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await?;
        serve(server, BytesMut::new(), permit, requests, &shared).await
    });
    Served { client, echo, signals, task }
}

impl Served {
    pub(super) async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(super) async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(
                self.client.read_u8().await.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read))),
            );
        }
        String::from_utf8(read).unwrap()
    }

    pub(super) async fn read_to_end(&mut self) -> String {
        let mut read = String::new();
        self.client.read_to_string(&mut read).await.unwrap();
        read
    }

    pub(super) fn received(&self) -> Vec<String> {
        std::mem::take(&mut *self.echo.received.lock().unwrap())
    }
}

/// The requests that are found when `input` arrives in pieces of this size, and what is sent in response.
pub(super) async fn exchange(input: impl AsRef<[u8]>, piece: usize) -> (Vec<String>, String) {
    let served = served(piece, ClientLimits::default());
    let (mut read, mut write) = tokio::io::split(served.client);
    let input = input.as_ref().to_vec();
    let sender = tokio::spawn(async move {
        // Nothing is read after a rejected request.
        let _ = write.write_all(&input).await;
        let _ = write.shutdown().await;
    });
    let mut sent = String::new();
    read.read_to_string(&mut sent).await.unwrap();
    let _ = served.task.await.unwrap();
    sender.abort();
    let received = std::mem::take(&mut *served.echo.received.lock().unwrap());
    (received, sent)
}
