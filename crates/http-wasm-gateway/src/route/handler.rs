//! What handles a route's requests: its guests, and what stands behind them.

use std::sync::Arc;

use http::Response;
use http_wasm_tower::{Error, Guest, Handled, HideDetails, HttpHost, Outcome, Pinned, fail, pass_over};

use super::answer::Answer;
use crate::backend::Backend;
use crate::body::BoxBody;
use crate::config;
use crate::exchange::{Exchange, GuestTimer, Inbound, heard, unavailable};
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
    Service(
        tower::util::BoxCloneSyncService<http::Request<BoxBody>, Response<BoxBody>, std::convert::Infallible>,
    ),
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

    async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        match self {
            Self::Backend(backend) => backend.respond(inbound).await,
            Self::Answer(answer) => answer.to(&inbound.request),
            Self::Nothing => unavailable(),
            #[cfg(test)]
            Self::Service(service) => {
                let Ok(response) = tower::ServiceExt::oneshot(service.clone(), inbound.take()).await;
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
    pub(crate) async fn respond(&self, inbound: &mut Inbound) -> Response<BoxBody> {
        if self.guests.is_empty() {
            return self.behind.respond(inbound).await;
        }
        let exchange = inbound.exchange.clone();
        heard(exchange.as_ref(), self.through_guests(inbound, exchange.as_ref())).await
    }

    async fn through_guests(
        &self,
        inbound: &mut Inbound,
        exchange: Option<&Arc<Exchange>>,
    ) -> Response<BoxBody> {
        let mut passed = Passed(Vec::with_capacity(self.guests.len()));
        let mut response = 'answered: {
            for Named { name, guest } in &self.guests {
                let mut timer = exchange.map(|exchange| GuestTimer::start(exchange, name));
                let host = HttpHost::new(inbound.take(), Some(inbound.client.addr)).fold_underscores();
                let role = match guest.handle_request(host).await {
                    Ok(Outcome::Next(mut pinned)) => {
                        let keep_head = pinned.reads_request();
                        inbound.request = pinned.host_mut().take_request(keep_head);
                        Role::Pinned(pinned)
                    }
                    Ok(Outcome::Bypassed { mut host, error }) => {
                        inbound.request = host.take_request(false);
                        Role::Failed(error)
                    }
                    Ok(Outcome::Respond(host)) => {
                        done(timer, None);
                        break 'answered host.into_response();
                    }
                    Err(error) => {
                        done(timer, Some(&error));
                        break 'answered fail(&HideDetails::default(), error);
                    }
                };
                if let Some(timer) = &mut timer {
                    timer.leave();
                }
                passed.0.push((timer, role));
            }
            self.behind.respond(inbound).await
        };
        while let Some((mut timer, role)) = passed.0.pop() {
            if let Some(timer) = &mut timer {
                timer.come_back();
            }
            response = match role {
                Role::Pinned(mut pinned) => {
                    pinned.host_mut().set_response(response);
                    match pinned.handle_response().await {
                        Ok(Handled { host, error }) => {
                            done(timer, error.as_ref());
                            let response = host.into_response();
                            match error {
                                None => response,
                                Some(error) => pass_over(error, response),
                            }
                        }
                        Err(error) => {
                            done(timer, Some(&error));
                            fail(&HideDetails::default(), error)
                        }
                    }
                }
                Role::Failed(error) => {
                    done(timer, Some(&error));
                    pass_over(error, response)
                }
            };
        }
        response
    }
}

/// The guests that have let a request pass, outermost first.
struct Passed<'a>(Vec<(Option<GuestTimer<'a>>, Role)>);

/// Should the request end here, they clean up as they would have been told of a response: innermost first.
impl Drop for Passed<'_> {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// A guest's further part in a request that it has let pass.
enum Role {
    /// It handles the response.
    Pinned(Pinned<HttpHost>),
    /// It has failed open, and has none.
    Failed(Error),
}

fn done(timer: Option<GuestTimer<'_>>, error: Option<&Error>) {
    if let Some(timer) = timer {
        timer.finish(error);
    }
}
