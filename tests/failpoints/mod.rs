//! The process dies at every point where something is half done; its successor finishes it, exactly once.

use std::time::{Duration, Instant};

use failpoint::Point;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::app::Kind;
use crate::support::installation::SANDBOX_CREDENTIALS;
use crate::support::patient::Patient;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::sandbox::RunningSandbox;
use crate::support::servers;
use crate::support::supervised::{Supervised, supervise};
use crate::support::wait::PATIENCE;

mod choice;
mod click;
mod defect;
mod payme;
mod zombies;

/// The stories that run side by side: each mostly waits for a lease to end.
const SIDE_BY_SIDE: usize = 8;

/// Two leases, the wait of a suspect, and a slow machine.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// Points that the jobs of all orders pass: there the first to die would always be `sweep`.
const OF_EVERY_JOB: [Point; 7] = [
    Point::RelayBeforePush,
    Point::RelayAfterPush,
    Point::ClaimBefore,
    Point::ClaimAfter,
    Point::AttemptBefore,
    Point::FinishBeforeCommit,
    Point::FinishAfterCommit,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_process_that_dies_anywhere_on_an_orders_way_is_replaced_without_a_trace() {
    tell_stories(Kind::Embedded, on_an_orders_way()).await;
}

/// Shows: PROMISE-3, MONEY-21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_a_process_that_dies_anywhere_on_an_orders_way_is_replaced_without_a_trace() {
    tell_stories(Kind::Servers, on_an_orders_way()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_process_that_dies_where_every_job_passes_is_replaced_without_a_trace() {
    tell_stories(Kind::Embedded, where_every_job_passes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_a_process_that_dies_where_every_job_passes_is_replaced_without_a_trace() {
    tell_stories(Kind::Servers, where_every_job_passes()).await;
}

/// A misspelt point would make every test here pass.
#[tokio::test]
async fn a_point_or_an_action_that_there_is_not_ends_the_program_at_its_start() {
    for wish in ["nowhere=kill", "link-after-call", "link-after-call=kill@soon", "link-after-call=explode"] {
        let mut program = Program::start(&["doctor"], &[("FAILPOINTS", wish)]);

        let status = program.wait_exit(PATIENCE).await;

        assert_eq!(status.code(), Some(78), "{wish}: {}", program.output());
        assert!(program.output().contains("FAILPOINTS"), "{wish}: {}", program.output());
    }
}

/// Every deadly point that only an order's own jobs pass, once.
fn on_an_orders_way() -> Vec<(Point, u32)> {
    let is_elsewhere = |point: Point| point.is_of_a_call() || point.is_of_a_choice() || OF_EVERY_JOB.contains(&point);
    let is_on_it = |point: &&Point| point.is_deadly() && !is_elsewhere(**point);
    let points = Point::ALL.iter().filter(is_on_it);
    points.map(|point| (*point, 1)).collect()
}

/// The points that all jobs pass, at each of the first jobs.
fn where_every_job_passes() -> Vec<(Point, u32)> {
    OF_EVERY_JOB.iter().flat_map(|point| [1, 2, 3].map(|time| (*point, time))).collect()
}

async fn tell_stories(kind: Kind, deaths: Vec<(Point, u32)>) {
    stream::iter(deaths).for_each_concurrent(SIDE_BY_SIDE, |(point, time)| tell(kind, point, time)).await;
}

/// An order is made and paid while a process dies at `point`, when it gets there for the `time`th time.
async fn tell(kind: Kind, point: Point, time: u32) {
    let death = format!("{point}=kill@{time}");
    let what = format!("{kind:?}, {death}");
    println!("{what}");
    let mut house = House::start(kind, point, &death).await;
    if matches!(point, Point::FinishBeforeCommit | Point::FinishAfterCommit) {
        // Also the ends of runs that fail.
        house.fault(r#"{"fault":"unavailable","next":2}"#).await;
    }

    let (patient, deadline) = (house.patient.clone(), Instant::now() + TOLD_WITHIN);
    let (id, ended) = supervise(&mut house.programs, async {
        let id = patient.create(&death, deadline).await.expect("an acknowledged order");
        let paid = async || {
            patient.pay_until_debited(id, deadline).await.is_some() && patient.reaches(id, "paid", deadline).await
        };
        let ended = match StoryEnd::of(point) {
            StoryEnd::Paid => paid().await,
            StoryEnd::Failed => patient.reaches(id, "failed", deadline).await,
            StoryEnd::Canceled => {
                patient.link(id, deadline).await.is_some() && patient.cancel(id, deadline).await == Some(true)
            }
            StoryEnd::Refunded => {
                paid().await
                    && patient.refund(id, "refund", deadline).await.is_some()
                    && patient.reaches(id, "refunded", deadline).await
            }
            StoryEnd::Sent => paid().await && patient.refund(id, "refund", deadline).await.is_some(),
        };
        (id, ended)
    })
    .await;
    assert!(ended, "{what}: {:?}", house.patient.order(id).await);
    house.wait_for_death(point).await;
    if StoryEnd::of(point) == StoryEnd::Sent {
        house.wait_until_asked_about().await;
    }
    house.check(&what, id, point).await;
}

/// The end of a story with a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoryEnd {
    Paid,
    Failed,
    Canceled,
    Refunded,
    /// The dead process had marked the refund as sent: its successors only ask about it, for three minutes.
    Sent,
}

impl StoryEnd {
    fn of(point: Point) -> StoryEnd {
        match point {
            Point::DeadLetterBeforeCommit => StoryEnd::Failed,
            Point::CancelBeforeCommit | Point::CancelAfterCommit => StoryEnd::Canceled,
            Point::RefundBeforeCall => StoryEnd::Sent,
            Point::RequestBeforeCommit
            | Point::RequestAfterCommit
            | Point::RefundBeforeMark
            | Point::RefundAfterCall
            | Point::RefundBeforeCommit
            | Point::RefundAfterCommit => StoryEnd::Refunded,
            _ => StoryEnd::Paid,
        }
    }
}

/// An installation whose processes are started again when they die.
struct House {
    patient: Patient,
    programs: Vec<Supervised>,
    /// Variables for the operator's commands.
    environment: Vec<(String, String)>,
    /// `None` for `up`, which has its own.
    sandbox: Option<RunningSandbox>,
    _data_dir: TempDir,
}

impl House {
    /// Starts an installation whose first processes die as `death` says.
    async fn start(kind: Kind, point: Point, death: &str) -> House {
        // The process that counts the crash dies too, at a point that only an earlier death leads to.
        let deaths = match point {
            Point::CrashBeforeCommit => vec![format!("{}=kill@2", Point::AttemptBefore), death.to_owned()],
            _ => vec![death.to_owned()],
        };
        House::start_with(kind, deaths, point == Point::DeadLetterBeforeCommit, &[]).await
    }

    /// As [`House::start`], with several deaths and further variables. With `is_refused` the sandbox knows no such
    /// store, which is a final no; `up` does not start its own sandbox then.
    async fn start_with(kind: Kind, deaths: Vec<String>, is_refused: bool, further: &[(&str, &str)]) -> House {
        let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
        let [api, worker, gateway] = [free_port(), free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let api_url = format!("http://{api}");
        let mut environment = vec![
            ("TASDIQ_LISTEN".to_owned(), api),
            ("TASDIQ_WORKER_LISTEN".to_owned(), worker),
            ("TASDIQ_SWEEP_SECONDS".to_owned(), "1".to_owned()),
            ("TASDIQ_LINK_WAIT_MS".to_owned(), "500".to_owned()),
        ];
        environment.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let sandbox = match kind == Kind::Servers || is_refused {
            true => Some(RunningSandbox::start(&api_url).await),
            false => None,
        };
        if let Some(sandbox) = &sandbox {
            for (name, value) in SANDBOX_CREDENTIALS {
                let value = if name == "ATMOS_STORE_ID" && is_refused { "9999" } else { value };
                environment.push((name.to_owned(), value.to_owned()));
            }
            environment.push(("ATMOS_BASE_URL".to_owned(), sandbox.url.clone()));
        }
        let gateway_url = sandbox.as_ref().map_or(format!("http://{gateway}"), |sandbox| sandbox.url.clone());
        let patient = Patient::new(api_url.clone(), gateway_url);
        let programs = match kind {
            Kind::Embedded => {
                environment.push(("TASDIQ_DATA_DIR".to_owned(), data_dir.path().to_str().unwrap().to_owned()));
                environment.push(("TASDIQ_SANDBOX_LISTEN".to_owned(), gateway));
                vec![Supervised::start("up", &["up"], &environment, deaths)]
            }
            Kind::Servers => {
                environment.extend([
                    ("TASDIQ_PUBLIC_URL".to_owned(), api_url),
                    ("DATABASE_URL".to_owned(), servers::fresh_database().await),
                    ("REDIS_URL".to_owned(), servers::redis_url()),
                ]);
                let variables: Vec<(&str, &str)> =
                    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let mut migrate = Program::start(&["migrate"], &variables);
                assert!(migrate.wait_exit(PATIENCE).await.success(), "{}", migrate.output());
                vec![
                    Supervised::start("api", &["api"], &environment, [deaths.join(";")]),
                    Supervised::start("worker", &["worker", "--concurrency", "8"], &environment, deaths),
                ]
            }
        };
        House { patient, programs, environment, sandbox, _data_dir: data_dir }
    }

    async fn fault(&self, fault: &str) {
        if let Some(sandbox) = &self.sandbox {
            sandbox.fault(&serde_json::from_str(fault).unwrap()).await;
        }
    }

    /// Some points lie behind the order's end; the processes run on until one of them gets there.
    async fn wait_for_death(&mut self, point: Point) {
        let deadline = Instant::now() + TOLD_WITHIN;
        loop {
            for program in &mut self.programs {
                program.look();
            }
            let endings = self.programs.iter().flat_map(Supervised::endings);
            if endings.into_iter().any(|ending| ending.is_by_failpoint(point.as_str())) {
                return;
            }
            assert!(Instant::now() < deadline, "no process came to {point}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a successor has run the refund's job, which then waits for its next inquiry.
    async fn wait_until_asked_about(&mut self) {
        let deadline = Instant::now() + TOLD_WITHIN;
        loop {
            supervise(&mut self.programs, tokio::time::sleep(Duration::from_millis(100))).await;
            let jobs = self.command(&["jobs", "list", "--kind", "refund_order", "--json"]).await;
            let jobs: Value = serde_json::from_str(&jobs).unwrap();
            if jobs[0]["state"] == "available" && jobs[0]["crashes"] == 0 && jobs[0]["attempt"] == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "no worker asks about the refund: {jobs}");
        }
    }

    /// The order was paid once, by the transaction that moved the money; its history is complete, and nothing else
    /// ended.
    async fn check(&mut self, what: &str, id: i64, point: Point) {
        for program in &self.programs {
            for ending in program.endings() {
                let by_failpoint =
                    ending.is_by_failpoint(point.as_str()) || ending.is_by_failpoint(Point::AttemptBefore.as_str());
                assert!(by_failpoint, "{what}: {} ended with {}: {}", program.name(), ending.status, ending.output);
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let patient = self.patient.clone();
        let (order, book) = supervise(&mut self.programs, async {
            let order = loop {
                if let Some(order) = patient.order(id).await {
                    break order;
                }
                assert!(Instant::now() < deadline, "{what}: the API does not come back");
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            (order, patient.ledger().await.unwrap_or_default())
        })
        .await;
        // The audit compares all rows about the order, its jobs and its history with the gateway.
        self.command(&["audit"]).await;
        let debits: Vec<&Value> = book.iter().filter(|line| line["debits"] != 0).collect();
        let (status, reversals) = match StoryEnd::of(point) {
            StoryEnd::Failed | StoryEnd::Canceled => {
                assert!(debits.is_empty(), "{what}: {debits:?}");
                return;
            }
            StoryEnd::Paid => ("paid", 0),
            StoryEnd::Refunded => ("refunded", 1),
            StoryEnd::Sent => ("paid", 0),
        };
        assert_eq!(order["status"], status, "{what}");
        assert_eq!(debits[0]["state"], if reversals == 0 { "debited" } else { "reversed" }, "{what}");
        // A sandbox that died with its process has lost its count of reversals.
        let asked = debits[0]["reversals_asked"].as_i64().unwrap();
        assert!(asked <= reversals && (asked == reversals || self.sandbox.is_none()), "{what}: asked {asked} times");
        assert_eq!(debits.len(), 1, "{what}: {debits:?}");
        assert_eq!(debits[0]["debits"], 1, "{what}");
        assert_eq!(debits[0]["account"], id.to_string(), "{what}");
        assert_eq!(debits[0]["transaction_id"], order["transaction_id"], "{what}");
        assert!(self.command(&["jobs", "list", "--state", "dead", "--json"]).await.contains("[]"), "{what}");
    }

    /// Runs a command of the operator's, which must succeed, and returns its output.
    async fn command(&self, arguments: &[&str]) -> String {
        command(&self.environment, arguments).await
    }
}

/// Runs a command of the operator's with these variables, which must succeed, and returns its output.
async fn command(environment: &[(String, String)], arguments: &[&str]) -> String {
    let mut program = Program::start(arguments, &pairs(environment));
    let status = program.wait_exit(PATIENCE).await;
    assert!(status.success(), "tasdiq {}: {}", arguments.join(" "), program.output());
    program.output()
}

fn pairs(environment: &[(String, String)]) -> Vec<(&str, &str)> {
    environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
