//! Payme's own test course: two scenarios that a merchant's endpoint must pass before its cashbox is switched on.

mod answer;
mod course;
mod expectation;
mod plan;

use self::course::Course;
pub use self::plan::{PaymeScenarios, RefundPolicy};
use crate::check::CheckReport;
use crate::exchange::client_builder;

impl PaymeScenarios {
    /// Runs the scenarios and lists what was sent, expected and answered.
    ///
    /// # Errors
    /// No client can be made on this machine.
    pub async fn run(&self) -> Result<CheckReport, reqwest::Error> {
        let client = client_builder(self.timeout).build()?;
        let mut course = Course::new(self, client);
        for scenario in &self.scenarios {
            match scenario {
                1 => course.unconfirmed().await,
                _ => course.confirmed().await,
            }
        }
        Ok(course.report())
    }
}
