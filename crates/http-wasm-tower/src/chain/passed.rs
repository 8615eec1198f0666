//! The guests that have let a request pass, and the responses that stand in for guests that fail.

use http::request::Parts;
use http::{Request, Response};
use http_wasm_host::{Body, Error, Handled, HttpHost, Outcome, Pinned, Progress};

use super::observer::GuestObserver;
use super::writing::WritingGuest;
use crate::failure::{Policy, fail_open, head_of};

pub(super) type Requested = Result<Outcome<HttpHost>, Error>;
pub(super) type Responded = Result<Handled<HttpHost>, Error>;

/// What an exchange needs when a guest fails.
pub(crate) struct Failures {
    policy: Policy,
    /// The original request, for a policy that sees it.
    request: Option<Box<Parts>>,
}

impl Failures {
    #[inline]
    pub(super) fn new<B>(policy: &Policy, request: Option<&Request<B>>) -> Self {
        let request =
            request.filter(|_| policy.get().needs_request()).map(|request| Box::new(head_of(request)));
        Self { policy: policy.clone(), request }
    }

    pub(super) fn fail(&self, error: Error) -> Response<Body> {
        self.policy.fail(error, self.request.as_deref())
    }

    /// The result of `handle_response`.
    #[inline]
    pub(super) fn settle(&self, responded: Responded, observer: impl GuestObserver) -> Response<Body> {
        match responded {
            Ok(Handled { host, error: None, stream }) => {
                match stream {
                    None => observer.finished(None),
                    Some(stream) => observer.streams(stream),
                }
                host.into_response()
            }
            Ok(Handled { host, error: Some(error), .. }) => {
                observer.finished(Some(&error));
                fail_open(error, host.into_response())
            }
            Err(error) => {
                observer.finished(Some(&error));
                self.fail(error)
            }
        }
    }
}

/// The guests that have let a request pass, outermost first. Most chains have one guest, which needs no allocation.
pub(crate) struct PassedGuests<G> {
    first: Option<Part<G>>,
    others: Vec<Part<G>>,
}

/// A guest's further part in a request that it has let pass.
struct Part<G> {
    observer: G,
    role: Role,
}

enum Role {
    /// It handles the response.
    Pinned(Pinned<HttpHost>),
    /// It has failed open, and doesn't see the response.
    Failed { host: HttpHost, error: Error },
}

/// How far a request has come with a guest.
pub(super) enum Settled<G: GuestObserver> {
    /// The guest has let it pass.
    Passed,
    /// The guest has answered it, or failed.
    Answered(Response<Body>),
    /// The guest lets it pass, and goes on to write it.
    Writing(WritingGuest<G>),
}

impl<G> Default for PassedGuests<G> {
    #[inline]
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<G> PassedGuests<G> {
    /// The request, for the next guest or handler.
    #[inline]
    pub(crate) fn take_request(&mut self) -> Request<Body> {
        match self.others.last_mut().or(self.first.as_mut()).map(|part| &mut part.role) {
            Some(Role::Pinned(pinned)) => {
                let keep_head = pinned.reads_request();
                pinned.host_mut().take_request(keep_head)
            }
            Some(Role::Failed { host, .. }) => host.take_request(false),
            None => unreachable!("a guest has let the request pass"),
        }
    }

    #[inline]
    fn push(&mut self, part: Part<G>, length: usize) {
        if self.first.is_none() {
            self.first = Some(part);
        } else {
            if self.others.is_empty() {
                self.others.reserve_exact(length - 1);
            }
            self.others.push(part);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Part<G>> {
        self.others.pop().or_else(|| self.first.take())
    }

    /// Adds guests that are further inside.
    pub(super) fn append(&mut self, mut inner: Self, length: usize) {
        inner.first.take().into_iter().chain(inner.others.drain(..)).for_each(|part| self.push(part, length));
    }

    /// Lets the guests clean up, the innermost first as with a response.
    pub(super) fn clear(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<G: GuestObserver> PassedGuests<G> {
    /// The result of `handle_request` in a chain of `length` guests.
    #[inline]
    pub(super) fn settle(
        &mut self,
        requested: Requested,
        mut observer: G,
        length: usize,
        failures: &Failures,
    ) -> Settled<G> {
        let role = match requested {
            Ok(Outcome::Next(pinned)) => Role::Pinned(pinned),
            Ok(Outcome::Bypassed { host, error }) => Role::Failed { host, error },
            Ok(Outcome::Respond(host)) => {
                observer.finished(None);
                return Settled::Answered(host.into_response());
            }
            Ok(Outcome::Streams(stream)) => return Settled::Writing(WritingGuest::new(stream, observer)),
            Err(error) => {
                observer.finished(Some(&error));
                return Settled::Answered(failures.fail(error));
            }
        };
        observer.passed();
        self.push(Part { observer, role }, length);
        Settled::Passed
    }

    /// Takes the response back through the guests, the innermost first.
    ///
    /// # Errors
    /// A guest that waits for something.
    #[inline]
    pub(super) fn resume(
        &mut self,
        mut response: Response<Body>,
        failures: &Failures,
    ) -> Result<Response<Body>, (Progress<Responded>, G)> {
        while let Some(Part { mut observer, role }) = self.pop() {
            response = match role {
                Role::Pinned(mut pinned) => {
                    pinned.host_mut().set_response(response);
                    observer.resumed();
                    match pinned.handle_response().done() {
                        Ok(responded) => failures.settle(responded, observer),
                        Err(guest) => return Err((guest, observer)),
                    }
                }
                Role::Failed { error, .. } => {
                    observer.resumed();
                    observer.finished(Some(&error));
                    fail_open(error, response)
                }
            };
        }
        Ok(response)
    }
}

/// If the exchange ends here, the guests clean up.
impl<G> Drop for PassedGuests<G> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}
