//! The login that all addresses of a provider share, and its life.
//!
//! A token is renewed at 80 % of its life by a task that ends with the provider. When renewing gives less than half of what
//! the login gave, its end is near, and the task logs in anew while the old token still works; so it does when a renewal is
//! refused. A call whose token is refused before that asks for a newer one.
//!
//! However many ask, one login runs, as a task of its own: callers who hang up end nothing. A refused login is remembered for
//! a second, so that it is not a flood.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    answer::Failure,
    config::Auth,
    http::{Http, WHOLE},
    login::{Login, Token},
};
use crate::{Cause, KmsError};

/// How long a refused login stands before it is tried again.
const REFUSED: Duration = Duration::from_secs(1);
/// The pauses of the task after a failure: doubling from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// No token is looked after more often than this, however short its life.
const LEAST: Duration = Duration::from_millis(200);
/// What one address may take of a login when there are others.
const EACH: Duration = Duration::from_secs(2);

/// A token and what is known of its life.
pub(super) struct Session {
    pub(super) header: HeaderValue,
    /// The address that gave it.
    pub(super) by: usize,
    /// Counts the logins.
    login: u64,
    /// When it was had, by login or renewal; what it was given then.
    since: Instant,
    life: Option<Duration>,
    /// What the login gave.
    full: Option<Duration>,
    renewable: bool,
    /// Its policy does not let it look at itself: whether it is still good, nobody can ask.
    blind: AtomicBool,
}

impl Session {
    /// Notes that it may not look at itself.
    pub(super) fn is_blind(&self) {
        self.blind.store(true, Ordering::Relaxed);
    }

    /// Whether one that may not look at itself is so new that a refusal is not for its age: not every refused call
    /// can be a login.
    pub(super) fn taken_as_good(&self) -> bool {
        self.blind.load(Ordering::Relaxed) && self.since.elapsed() < REFUSED
    }

    /// When it is to be renewed; `None` when it lives for ever.
    fn due(&self) -> Option<Instant> {
        self.life.map(|life| self.since + (life * 4 / 5).max(LEAST))
    }

    fn last_tenth(&self) -> bool {
        self.life.is_some_and(|life| self.since.elapsed() >= life * 9 / 10)
    }

    /// Whether a renewal gave so little that its end is near.
    fn ends(&self) -> bool {
        matches!((self.life, self.full), (Some(life), Some(full)) if life < full / 2)
    }
}

type Outcome = Option<Result<Arc<Session>, KmsError>>;

#[derive(Default)]
struct State {
    flight: Option<watch::Receiver<Outcome>>,
    refused: Option<(Instant, KmsError)>,
    logins: u64,
}

/// The login of one provider.
pub(super) struct Sessions {
    login: Arc<Login>,
    addresses: Vec<Http>,
    current: watch::Sender<Option<Arc<Session>>>,
    state: Mutex<State>,
    /// Where logins run: it outlives whoever asks for one.
    runtime: Handle,
}

/// Ends the task that looks after the token, with the last handle of a provider.
pub(super) struct Keeper(AbortHandle);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sessions {
    pub(super) fn new(login: Login, addresses: Vec<Http>, runtime: Handle) -> Arc<Self> {
        let (login, current) = (Arc::new(login), watch::Sender::new(None));
        Arc::new(Self { login, addresses, current, state: Mutex::default(), runtime })
    }

    /// Logs in and keeps the token alive until the keeper is dropped.
    pub(super) fn keep(self: &Arc<Self>) -> Keeper {
        Keeper(self.runtime.spawn(Arc::clone(self).looked_after()).abort_handle())
    }

    /// An address, by its place in the configuration.
    pub(super) fn http(&self, number: usize) -> Option<&Http> {
        self.addresses.get(number)
    }

    /// The session that is, or a login, first at this address.
    pub(super) async fn session(self: &Arc<Self>, first: usize) -> Result<Arc<Session>, KmsError> {
        let current = self.current.borrow().clone();
        match current {
            Some(session) => Ok(session),
            None => self.log_in(first, None).await,
        }
    }

    /// A session of a later login than this one's.
    pub(super) async fn newer(
        self: &Arc<Self>,
        than: &Session,
        first: usize,
    ) -> Result<Arc<Session>, KmsError> {
        self.log_in(first, Some(than.login)).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the login that runs, or starts one.
    async fn log_in(self: &Arc<Self>, first: usize, after: Option<u64>) -> Result<Arc<Session>, KmsError> {
        let mut flight = {
            let mut state = self.state();
            let current = self.current.borrow().clone();
            if let Some(session) = current.filter(|session| after.is_none_or(|after| session.login > after)) {
                return Ok(session);
            }
            if let Some((at, error)) = &state.refused
                && at.elapsed() < REFUSED
            {
                return Err(error.clone());
            }
            // A closed channel without a result is of a login that died.
            match &state.flight {
                Some(flight) if flight.has_changed().is_ok() => flight.clone(),
                _ => {
                    let (sender, receiver) = watch::channel(None);
                    state.flight = Some(receiver.clone());
                    self.runtime.spawn(Arc::clone(self).flight(first, sender));
                    receiver
                }
            }
        };
        let done = flight.wait_for(Option::is_some).await;
        let outcome = done.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(KmsError::local("the login ended without an answer")))
    }

    async fn flight(self: Arc<Self>, first: usize, sender: watch::Sender<Outcome>) {
        let result = self.everywhere(first).await;
        let outcome = {
            let mut state = self.state();
            state.flight = None;
            state.refused = match &result {
                Err(error) if !error.is_transient() => Some((Instant::now(), error.clone())),
                _ => None,
            };
            result.map(|(token, by)| {
                state.logins += 1;
                let Token { header, life, renewable } = token;
                let login = state.logins;
                let (since, full, blind) = (Instant::now(), life, AtomicBool::new(false));
                let session = Arc::new(Session { header, by, login, since, life, full, renewable, blind });
                self.current.send_replace(Some(Arc::clone(&session)));
                session
            })
        };
        if let Err(error) = &outcome {
            tracing::warn!(method = self.login.auth.method(), %error, "login at the KMS failed");
        }
        sender.send_replace(Some(outcome));
    }

    /// At one address after the other until one answers, beginning with the caller's. A refusal is an answer, but of a token that
    /// was made elsewhere: a standby that reads for itself may know it a moment later than the others.
    async fn everywhere(&self, first: usize) -> Result<(Token, usize), KmsError> {
        let count = self.addresses.len();
        let within = if count > 1 { EACH } else { WHOLE };
        let (mut failed, mut refused) = (KmsError::local("no address"), None);
        if self.login.another_identity().await? {
            for http in &self.addresses {
                http.reconnect(&self.login.common)?;
            }
        }
        for number in (first..count).chain(0..first.min(count)) {
            let Some(http) = self.addresses.get(number) else { continue };
            match self.login.at(http, within).await {
                Ok(token) => return Ok((token, number)),
                Err(error) if error.is_transient() => {
                    // That a standby is one tells less than why the others did not answer.
                    if number == first || !matches!(error, KmsError::Unavailable(Cause::Standby, _)) {
                        failed = error;
                    }
                }
                Err(error) if matches!(self.login.auth, Auth::Token { .. }) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(failed))
    }

    async fn looked_after(self: Arc<Self>) {
        let mut changes = self.current.subscribe();
        let mut pause = PAUSE.0;
        loop {
            let session = changes.borrow_and_update().clone();
            let failed = match session {
                None => self.log_in(0, None).await.err(),
                Some(session) => {
                    let due = async {
                        match session.due() {
                            Some(due) => sleep_until(due).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = due => self.prolong(&session).await.err(),
                        // Somebody else logged in.
                        changed = changes.changed() => { if changed.is_err() { return } None }
                    }
                }
            };
            match failed {
                None => pause = PAUSE.0,
                Some(_) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Renews a token, or logs in where that does not help any more.
    async fn prolong(self: &Arc<Self>, session: &Arc<Session>) -> Result<(), KmsError> {
        let first = session.by;
        if session.renewable && !session.ends() {
            let mut failed = None;
            for number in (first..self.addresses.len()).chain(0..first) {
                let Some(http) = self.http(number) else { continue };
                match Login::renew(http, &session.header, EACH).await {
                    Ok(token) => {
                        let renewed = self.renewed(session, token);
                        if !renewed.ends() {
                            return Ok(());
                        }
                        failed = None;
                        break;
                    }
                    Err(Failure::Decided(error)) => failed = Some(error),
                    // It cannot be renewed any more: 403 when it is gone, 400 when it never could.
                    Err(_) => {
                        failed = None;
                        break;
                    }
                }
            }
            // In its last tenth a token is not waited for any more.
            if let Some(error) = failed.filter(|_| !session.last_tenth()) {
                tracing::warn!(%error, "renewing the KMS token failed; trying again");
                return Err(error);
            }
        }
        self.newer(session, first).await.map(drop)
    }

    fn renewed(&self, of: &Session, token: Token) -> Arc<Session> {
        let Token { header, life, renewable } = token;
        let (by, login, full, since) = (of.by, of.login, of.full, Instant::now());
        let blind = AtomicBool::new(of.blind.load(Ordering::Relaxed));
        let renewed = Arc::new(Session { header, by, login, since, life, full, renewable, blind });
        let made = Arc::clone(&renewed);
        self.current.send_if_modified(|current| {
            // Not over a login that came in between.
            let same = current.as_ref().is_some_and(|current| current.login == login);
            if same {
                *current = Some(made);
            }
            same
        });
        renewed
    }
}
