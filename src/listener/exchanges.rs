//! What is under way on a connection: who waits for a client, and for how long.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// The requests on one connection whose answers its client has not received whole.
#[derive(Debug, Clone)]
pub(super) struct Exchanges(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    /// How many requests are open.
    requests: usize,
    /// Since when no request is open, if none is.
    idle_since: Instant,
    /// When the answers under way began, each with a number that no other has.
    answers: BTreeSet<(Instant, u64)>,
    count: u64,
}

impl Exchanges {
    /// A connection on which nothing has been asked.
    pub(super) fn new() -> Self {
        let open = Open { requests: 0, idle_since: Instant::now(), answers: BTreeSet::new(), count: 0 };
        Self(Arc::new(Mutex::new(open)))
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Exchange {
        self.open().requests += 1;
        Exchange { exchanges: self.clone(), answer: None }
    }

    /// Ends once an answer has not been taken for longer than `allowed`.
    pub(super) async fn unread(&self, allowed: Duration) {
        self.overdue(allowed, |open| open.answers.first().map(|(since, _)| *since)).await;
    }

    /// Ends once no request has been open for longer than `allowed`.
    pub(super) async fn idle(&self, allowed: Duration) {
        self.overdue(allowed, |open| (open.requests == 0).then_some(open.idle_since)).await;
    }

    /// Ends once that which began at `since` has gone on for longer than `allowed`.
    async fn overdue(&self, allowed: Duration, since: impl Fn(&Open) -> Option<Instant>) {
        // Nothing wakes this when something begins: what begins while this sleeps is overdue later.
        let mut look_at = Instant::now() + allowed;
        loop {
            sleep_until(look_at).await;
            let began = since(&self.open());
            let now = Instant::now();
            look_at = began.unwrap_or(now) + allowed;
            if look_at <= now {
                return;
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // It is whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, until all but the last piece of its answer has been taken.
pub(super) struct Exchange {
    exchanges: Exchanges,
    /// The answer's entry among those under way.
    answer: Option<(Instant, u64)>,
}

impl Exchange {
    /// The answer begins.
    pub(super) fn answer(mut self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        {
            let mut open = self.exchanges.open();
            open.count += 1;
            let entry = (Instant::now(), open.count);
            open.answers.insert(entry);
            self.answer = Some(entry);
        }
        Body::new(Answer { body, rest: Bytes::new(), _exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut open = self.exchanges.open();
        if let Some(entry) = self.answer {
            open.answers.remove(&entry);
        }
        open.requests -= 1;
        open.idle_since = Instant::now();
    }
}

/// How much of an answer is passed on at once, in bytes: what is passed on counts as taken.
const PIECE: usize = 64 << 10;

struct Answer {
    body: Body,
    /// What came with one frame and is not passed on yet.
    rest: Bytes,
    _exchange: Exchange,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context))
                .map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = PIECE.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
