//! What handles a route's requests: its guests, and what stands behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use http_wasm_tower::{Error, Guest, Handled, HideDetails, HttpHost, Outcome, Pinned, fail, pass_over};

use super::answer::Answer;
use crate::backend::Backend;
use crate::body::BoxBody;
use crate::config;
use crate::core::unavailable;
use crate::listener::Client;
use crate::observe::{Exchange, GuestTimer, heard};
use crate::proxy::Proxy;

/// The guests around what answers, the first outermost.
///
/// A loop and not a tower of services: these would be boxed, as their number is known only when it runs, and so would be
/// the future of each.
pub(crate) struct Handler {
    guests: Vec<Named>,
    behind: Behind,
}

struct Named {
    name: Arc<str>,
    guest: Guest,
}

/// What stands behind the guests.
pub(crate) enum Behind {
    Backend(Backend),
    Answer(Answer),
    /// A guest of the route is missing.
    Nothing,
    #[cfg(test)]
    Service(tower::util::BoxCloneSyncService<Request<BoxBody>, Response<BoxBody>, std::convert::Infallible>),
}

impl Behind {
    /// `upstream` is the one that the route names.
    pub(crate) fn new(route: &config::Route, upstream: Option<Arc<Proxy>>) -> Self {
        if let Some(proxy) = upstream {
            return Self::Backend(Backend::Proxy(proxy));
        }
        if let Some(redirect) = &route.redirect {
            return Self::Answer(Answer::redirect(redirect));
        }
        if let Some(respond) = &route.respond {
            return Self::Answer(Answer::fixed(respond));
        }
        Self::Backend(match route.backend {
            Some(config::Backend::Hello) => Backend::Hello,
            Some(config::Backend::Echo) | None => Backend::Echo,
        })
    }

    async fn respond(&self, request: Request<BoxBody>) -> Response<BoxBody> {
        match self {
            Self::Backend(backend) => backend.respond(request).await,
            Self::Answer(answer) => answer.to(&request),
            Self::Nothing => unavailable(),
            #[cfg(test)]
            Self::Service(service) => {
                let Ok(response) = tower::ServiceExt::oneshot(service.clone(), request).await;
                response
            }
        }
    }
}

impl Handler {
    pub(crate) fn new(guests: Vec<Guest>, behind: Behind) -> Self {
        let guests = guests.into_iter().map(|guest| Named { name: guest.name().into(), guest });
        Self { guests: guests.collect(), behind }
    }

    /// The answer. Each guest answers for its own failures, so no error is left.
    pub(crate) async fn respond(&self, request: Request<BoxBody>) -> Response<BoxBody> {
        if self.guests.is_empty() {
            return self.behind.respond(request).await;
        }
        match request.extensions().get::<Arc<Exchange>>().cloned() {
            Some(exchange) => heard(exchange.clone(), self.through_guests(request, Some(exchange))).await,
            None => self.through_guests(request, None).await,
        }
    }

    async fn through_guests(
        &self,
        mut request: Request<BoxBody>,
        exchange: Option<Arc<Exchange>>,
    ) -> Response<BoxBody> {
        let client = request.extensions().get::<Client>().map(|client| client.addr);
        let mut passed = Vec::with_capacity(self.guests.len());
        let mut response = None;
        for guest in &self.guests {
            match guest.ask(request, client, exchange.as_ref()).await {
                Asked::GoesOn(on, pass) => {
                    request = on;
                    passed.push((guest, pass));
                }
                Asked::Answered(answer) => {
                    response = Some(answer);
                    request = Request::default();
                    break;
                }
            }
        }
        let mut response = match response {
            Some(response) => response,
            None => self.behind.respond(request).await,
        };
        while let Some((guest, pass)) = passed.pop() {
            response = guest.tell(pass, response).await;
        }
        response
    }
}

/// What a guest did with a request.
enum Asked {
    Answered(Response<BoxBody>),
    GoesOn(Request<BoxBody>, Pass),
}

/// A guest's further part in a request that it has let pass.
struct Pass {
    timer: Option<GuestTimer>,
    role: Role,
}

enum Role {
    /// It handles the response.
    Pinned(Pinned<HttpHost>),
    /// It has failed open, and has none.
    Failed(Error),
}

impl Named {
    async fn ask(
        &self,
        request: Request<BoxBody>,
        client: Option<SocketAddr>,
        exchange: Option<&Arc<Exchange>>,
    ) -> Asked {
        let mut timer = exchange.map(GuestTimer::start);
        let (request, role) = match self.guest.handle_request(HttpHost::new(request, client)).await {
            Ok(Outcome::Next(mut pinned)) => {
                let keep_head = pinned.reads_request();
                (pinned.host_mut().take_request(keep_head), Role::Pinned(pinned))
            }
            Ok(Outcome::Bypassed { mut host, error }) => (host.take_request(false), Role::Failed(error)),
            Ok(Outcome::Respond(host)) => {
                self.done(timer, None);
                return Asked::Answered(host.into_response());
            }
            Err(error) => {
                self.done(timer, Some(&error));
                return Asked::Answered(fail(&HideDetails::default(), error));
            }
        };
        if let Some(timer) = &mut timer {
            timer.leave();
        }
        Asked::GoesOn(request, Pass { timer, role })
    }

    async fn tell(&self, pass: Pass, response: Response<BoxBody>) -> Response<BoxBody> {
        let Pass { mut timer, role } = pass;
        if let Some(timer) = &mut timer {
            timer.come_back();
        }
        let mut pinned = match role {
            Role::Pinned(pinned) => pinned,
            Role::Failed(error) => {
                self.done(timer, Some(&error));
                return pass_over(error, response);
            }
        };
        pinned.host_mut().set_response(response);
        match pinned.handle_response().await {
            Ok(Handled { host, error: None }) => {
                self.done(timer, None);
                host.into_response()
            }
            Ok(Handled { host, error: Some(error) }) => {
                self.done(timer, Some(&error));
                pass_over(error, host.into_response())
            }
            Err(error) => {
                self.done(timer, Some(&error));
                fail(&HideDetails::default(), error)
            }
        }
    }

    fn done(&self, timer: Option<GuestTimer>, error: Option<&Error>) {
        if let Some(timer) = timer {
            timer.finish(&self.name, error);
        }
    }
}
