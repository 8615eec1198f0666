//! The guests that have let a request pass, and the responses that stand in for guests that fail.

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as HttpBody;
use http_wasm_host::{Body, BoxError, Error, Handled, HttpHost, Outcome, Pinned, Progress};

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
    pub(super) fn settle(&self, responded: Responded, observer: impl GuestObserver) -> HttpHost {
        match responded {
            Ok(Handled { host, error: None, stream }) => {
                match stream {
                    None => observer.finished(None),
                    Some(stream) => observer.streams(stream),
                }
                host
            }
            Ok(Handled { host, error: Some(error), .. }) => {
                observer.finished(Some(&error));
                host_of(fail_open(error, host.into_response()))
            }
            Err(error) => {
                observer.finished(Some(&error));
                host_of(self.fail(error))
            }
        }
    }
}

/// A host with a response for the guests in front.
fn host_of(response: Response<Body>) -> HttpHost {
    let mut host = HttpHost::new(Request::new(Body::empty()), None);
    host.set_response(response);
    host
}

/// The guests that have let a request pass, outermost first. Most chains have one guest, which needs no allocation.
pub(crate) struct PassedGuests<G> {
    first: Option<Part<G>>,
    others: Vec<Part<G>>,
}

/// A guest's further part in a request that it has let pass.
pub(super) struct Part<G> {
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
    /// The request, for the next handler.
    #[inline]
    pub(crate) fn take_request(&mut self) -> Request<Body> {
        let (host, keep_head) = self.last();
        host.take_request(keep_head)
    }

    /// The request, for the next guest.
    #[inline]
    pub(super) fn pass_request(&mut self) -> HttpHost {
        let (host, keep_head) = self.last();
        host.pass_request(keep_head)
    }

    /// The host of the last guest that has let the request pass, and whether it still needs the request's head.
    #[inline]
    fn last(&mut self) -> (&mut HttpHost, bool) {
        match self.others.last_mut().or(self.first.as_mut()).map(|part| &mut part.role) {
            Some(Role::Pinned(pinned)) => {
                let keep_head = pinned.reads_request();
                (pinned.host_mut(), keep_head)
            }
            Some(Role::Failed { host, .. }) => (host, false),
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

    /// The innermost guest, which gets the response first.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Part<G>> {
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

    /// Takes a response back through the guests, beginning with the innermost one, which the caller has
    /// [popped](Self::pop). The outermost one's host has the result.
    ///
    /// # Errors
    /// A guest that waits for something.
    #[inline]
    pub(super) fn respond<R>(
        &mut self,
        mut innermost: Part<G>,
        response: Response<R>,
        failures: &Failures,
    ) -> Result<HttpHost, (Progress<Responded>, G)>
    where
        R: HttpBody<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        innermost.host_mut().set_response(response);
        let host = innermost.handle_response(failures)?;
        self.resume(host, failures)
    }

    /// Takes the response of a guest, in its host, back through the guests in front of it. The outermost one's host has
    /// the result.
    ///
    /// # Errors
    /// A guest that waits for something.
    #[inline]
    pub(super) fn resume(
        &mut self,
        mut host: HttpHost,
        failures: &Failures,
    ) -> Result<HttpHost, (Progress<Responded>, G)> {
        while let Some(mut part) = self.pop() {
            part.host_mut().set_response_of(host);
            host = part.handle_response(failures)?;
        }
        Ok(host)
    }
}

impl<G: GuestObserver> Part<G> {
    #[inline]
    pub(super) fn host_mut(&mut self) -> &mut HttpHost {
        match &mut self.role {
            Role::Pinned(pinned) => pinned.host_mut(),
            Role::Failed { host, .. } => host,
        }
    }

    /// Lets the guest handle the response in its host.
    #[inline]
    pub(super) fn handle_response(
        mut self,
        failures: &Failures,
    ) -> Result<HttpHost, (Progress<Responded>, G)> {
        self.observer.resumed();
        match self.role {
            Role::Pinned(pinned) => match pinned.handle_response().done() {
                Ok(responded) => Ok(failures.settle(responded, self.observer)),
                Err(guest) => Err((guest, self.observer)),
            },
            Role::Failed { host, error } => {
                self.observer.finished(Some(&error));
                Ok(host_of(fail_open(error, host.into_response())))
            }
        }
    }
}

/// If the exchange ends here, the guests clean up.
impl<G> Drop for PassedGuests<G> {
    #[inline]
    fn drop(&mut self) {
        if self.first.is_some() {
            self.clear();
        }
    }
}
