//! Mending: the plan, doing it, watching it, taking it back.

use std::net::IpAddr;
use std::sync::{Arc, MutexGuard, PoisonError};

use askama::Template;
use hyper::StatusCode;
use stockade_api::helper::{
    Answer as Told, Authority, Outcome, Progress, Request as Ask, StepState, Which,
};

use super::http::{Answer, Form, go, html};
use super::session::{Key, Session};
use super::view::{Here, Shell, Words, fault};
use super::{Page, Problem, confused};
use crate::helper::HelperError;

/// The most steps that are remembered: a plan has hundreds at most.
const MOST_STEPS: usize = 1_024;

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage {
    shell: Shell,
    digest: String,
    steps: Vec<StepView>,
}

struct StepView {
    says: Words,
    risk: Option<Words>,
    mends: Vec<Words>,
}

#[derive(Template)]
#[template(path = "undo.html")]
struct UndoPage {
    shell: Shell,
}

#[derive(Template)]
#[template(path = "work.html")]
struct WorkPage<'a> {
    shell: Shell,
    /// What was done or taken back; none if nothing was, since this page is there.
    work: Option<&'a Work>,
    /// Whether passwords are shown: to the session that began it.
    own: bool,
}

/// What is being done, or was done last.
#[derive(Debug)]
pub(super) struct Work {
    title: &'static str,
    by: Key,
    steps: Vec<Doing>,
    end: Option<End>,
}

#[derive(Debug)]
struct Doing {
    step: u32,
    says: Words,
    state: StepState,
}

#[derive(Debug)]
enum End {
    Done(Outcome),
    Refused(Words),
}

impl Work {
    fn tell(&mut self, progress: Progress) {
        let room = self.steps.len() < MOST_STEPS;
        match self.steps.iter_mut().find(|it| it.step == progress.step) {
            Some(known) => known.state = progress.state,
            None if room => self.steps.push(Doing {
                step: progress.step,
                says: progress.says.into(),
                state: progress.state,
            }),
            None => (),
        }
    }
}

pub(super) async fn plan(page: &Page, session: &Session) -> Result<Answer, Problem> {
    let Told::Plan { plan, digest } = page.helper.ask(&Ask::Plan).await? else {
        return Err(confused());
    };
    let steps = plan.steps.into_iter().map(|planned| StepView {
        says: planned.step.says.into(),
        risk: planned.step.risk.map(Words),
        mends: planned.mends.into_iter().map(Words).collect(),
    });
    let page = PlanPage {
        shell: Shell::new(Here::Overview, session.csrf()),
        digest,
        steps: steps.collect(),
    };
    Ok(html(StatusCode::OK, &page))
}

pub(super) fn undo_form(session: &Session) -> Answer {
    let shell = Shell::new(Here::Overview, session.csrf());
    html(StatusCode::OK, &UndoPage { shell })
}

pub(super) fn apply(
    page: &Arc<Page>,
    session: &Session,
    mut form: Form,
    peer: IpAddr,
) -> Result<Answer, Problem> {
    let ask = Ask::Apply {
        digest: form.take("digest")?.to_string(),
        authority: Authority::Password(form.tried("password", peer)?),
    };
    begin(page, session, peer, "Mending", ask)
}

pub(super) fn undo(
    page: &Arc<Page>,
    session: &Session,
    mut form: Form,
    peer: IpAddr,
) -> Result<Answer, Problem> {
    let which = match form.take("which")?.as_str() {
        "last" => Which::Last,
        "all" => Which::All,
        _ => return Err(super::BadForm::Malformed.into()),
    };
    let authority = Authority::Password(form.tried("password", peer)?);
    let ask = Ask::Undo { which, authority };
    begin(page, session, peer, "Taking back", ask)
}

fn now(page: &Page) -> MutexGuard<'_, Option<Work>> {
    page.work.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks for something that takes a while, and goes where it can be watched. It goes on when nobody watches.
fn begin(
    page: &Arc<Page>,
    session: &Session,
    peer: IpAddr,
    title: &'static str,
    ask: Ask,
) -> Result<Answer, Problem> {
    page.attempt(peer)?;
    {
        let mut work = now(page);
        if work.as_ref().is_some_and(|it| it.end.is_none()) {
            let text = "Something is being done already.";
            let help = "Wait until it is done.";
            return Err(Problem::new(StatusCode::CONFLICT, "Not now", text, help));
        }
        *work = Some(Work {
            title,
            by: session.key(),
            steps: Vec::new(),
            end: None,
        });
    }
    let page = Arc::clone(page);
    tokio::spawn(async move {
        let told = page.helper.follow(&ask, |progress| {
            if let Some(work) = now(&page).as_mut() {
                work.tell(progress);
            }
        });
        let end = match told.await {
            Ok(Told::Applied(outcome)) => {
                page.limit.succeeded(peer);
                End::Done(outcome)
            }
            Ok(_) => End::Refused(Words(confused().text)),
            Err(HelperError::Refused(refused)) => End::Refused(fault(&refused)),
            Err(away) => End::Refused(Words(Problem::from(away).text)),
        };
        if let Some(work) = now(&page).as_mut() {
            work.end = Some(end);
        }
    });
    Ok(go("/work", None))
}

pub(super) fn work(page: &Page, session: &Session) -> Answer {
    let mut work = now(page);
    let view = WorkPage {
        shell: Shell::new(Here::Overview, session.csrf()),
        own: work.as_ref().is_some_and(|it| it.by == session.key()),
        work: work.as_ref(),
    };
    let own = view.own;
    let answer = html(StatusCode::OK, &view);
    // New passwords are told once.
    if let Some(Work {
        end: Some(End::Done(outcome)),
        ..
    }) = work.as_mut()
        && own
    {
        outcome.told.clear();
    }
    answer
}
