//! The process dies in a call of Click; the repeat of the call has the answer that stays.

use std::time::Duration;

use failpoint::Point;
use serde_json::{Value, json};

use crate::story::click::ClickApp;
use crate::support::app::{Kind, on_both_kinds};
use crate::support::click_call::Call;

on_both_kinds! {
    a_process_that_dies_in_a_call_of_click_gives_its_repeat_the_answer_that_stays
}

/// The end of a dead process's leases, and a slow machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// The points of the calls that Click makes.
const POINTS: [Point; 6] = [
    Point::BeginBeforeCommit,
    Point::BeginAfterCommit,
    Point::DebitedBeforeCommit,
    Point::DebitedAfterCommit,
    Point::FailedBeforeCommit,
    Point::FailedAfterCommit,
];

/// Click, which repeats a call that got no answer.
struct Click {
    app: ClickApp,
    /// How many calls got no answer.
    unanswered: usize,
}

impl Click {
    /// The answer to a call. Without one the process has died: it is begun again, and the call is repeated. One more repeat
    /// must have the same answer, byte for byte.
    async fn call(&mut self, call: &Call) -> Value {
        let answer = match self.app.send(call).await {
            Some(answer) => answer,
            None => {
                self.unanswered += 1;
                self.app.app.start_again_without("FAILPOINTS").await;
                self.app.send(call).await.unwrap()
            }
        };
        assert_eq!(self.app.send(call).await.as_ref(), Some(&answer), "{call:?}");
        serde_json::from_str(&answer).unwrap()
    }
}

async fn a_process_that_dies_in_a_call_of_click_gives_its_repeat_the_answer_that_stays(kind: Kind) {
    for point in POINTS {
        let death = format!("{point}=kill");
        let app = ClickApp::start_with(kind, &[("FAILPOINTS", &death)]).await;
        let (paying, failing) = (app.click_order().await, app.click_order().await);
        let mut click = Click { app, unanswered: 0 };
        let prepare = |id: i64| Call::prepare_of("22222", id, "50.00", 3_737_500 + id);

        let prepared = click.call(&prepare(paying)).await;
        assert_eq!(prepared["error"], 0, "{point}: {prepared}");
        let told = click.call(&prepare(paying).complete(&prepared["merchant_prepare_id"], 0)).await;
        assert_eq!((&told["error"], &told["merchant_confirm_id"]), (&json!(0), &prepared["merchant_prepare_id"]));
        assert_eq!(click.app.history(paying).await.times_entered("paid"), 0, "{point}: Click shows no payment yet");
        click.app.debit_in_secret(paying).await;
        click.app.wait_for_within(paying, "paid", SETTLED_WITHIN).await;

        let prepared = click.call(&prepare(failing)).await;
        assert_eq!(prepared["error"], 0, "{point}: {prepared}");
        let told = click.call(&prepare(failing).complete(&prepared["merchant_prepare_id"], -5_017)).await;
        assert_eq!(told["error"], -9, "{point}: {told}");
        click.app.wait_for_within(failing, "pending", SETTLED_WITHIN).await;

        assert_eq!(click.unanswered, 1, "{point}");
        let again = click.call(&prepare(paying)).await;
        assert_eq!(again["error"], -4, "{point}: {again}");
        for (id, paid) in [(paying, 1), (failing, 0)] {
            let history = click.app.history(id).await;
            let entered = (history.times_entered("confirming"), history.times_entered("paid"));
            assert_eq!(entered, (1, paid), "{point}: {history}");
            assert_eq!(click.app.order(id).await["needs_review"], false, "{point}");
        }
    }
}
