//! How jobs are run.

use std::net::SocketAddr;
use std::time::Duration;

use config::values;

use crate::inquiry_schedule::InquirySchedule;

config::settings! {
    /// How jobs are run.
    #[derive(Clone, Debug)]
    pub struct WorkerSettings {
        /// The address on which a worker answers health and metrics.
        #[env("TASDIQ_WORKER_LISTEN", default = "127.0.0.1:8001", check = values::listen(8001))]
        pub listen: SocketAddr,

        // Quick while a customer waits, then ever slower; `docs/internals/orders-way.md` names the cost.
        /// When to ask the gateway about an order, in seconds after the last hint; the last repeats.
        #[env(
            "TASDIQ_SETTLE_SCHEDULE",
            default = "0.25,0.5,1,1.5,2,3,4,6,8,10,12,15,20,30,60,120,300,600",
            check = schedule
        )]
        pub inquiry_schedule: InquirySchedule,

        /// How often missing jobs are restored, in seconds; 1 to 3600.
        #[env("TASDIQ_SWEEP_SECONDS", default = "60", check = values::seconds(1..=3_600))]
        pub sweep_every: Duration,
    }
}

/// The most steps an inquiry schedule may have.
const MAX_STEPS: usize = 24;

/// The longest wait between two inquiries: a day.
const MAX_STEP_MS: u64 = 86_400_000;

/// Seconds with up to three decimals, comma-separated. Read without floats.
fn schedule(text: &str) -> Result<InquirySchedule, String> {
    let steps: Option<Vec<Duration>> = text.split(',').map(|step| seconds(step.trim())).collect();
    match steps {
        Some(steps) if steps.len() <= MAX_STEPS => Ok(InquirySchedule::new(&steps)),
        Some(_) => Err(format!("has more than {MAX_STEPS} steps")),
        None => {
            Err("is not a list of seconds such as 0.25,1,5,30, each above 0 and at most 86400, with at most three \
                     decimals"
                .to_owned())
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 5 || fraction.len() > 3 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let ms = format!("{whole}{fraction:0<3}").parse().ok().filter(|ms| (1..=MAX_STEP_MS).contains(ms))?;
    Some(Duration::from_millis(ms))
}
