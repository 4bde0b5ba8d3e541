//! A running sandbox: payments, faults, and its ledger.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::ports::free_port;
use super::program::Program;
use super::role::client;
use super::wait::PATIENCE;

/// A running sandbox, with the acts of customers and of test faults.
pub(crate) struct RunningSandbox {
    pub(crate) url: String,
    client: Client,
    program: Option<Program>,
}

impl RunningSandbox {
    /// The sandbox of a running `tasdiq up`.
    pub(crate) fn at(address: &str) -> Self {
        RunningSandbox { url: format!("http://{address}"), client: client(), program: None }
    }

    /// Starts `tasdiq sandbox`, which sends its callbacks to the API at `api_url`.
    pub(crate) async fn start(api_url: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let [of_atmos, of_payme, of_click] =
            ["atmos", "payme", "click"].map(|gateway| format!("{api_url}/{gateway}/webhook/"));
        let callbacks = ["--callback-url", &of_atmos, "--payme-webhook", &of_payme, "--click-prepare", &of_click];
        let arguments = [&["sandbox", "--listen", &address], &callbacks[..]].concat();
        let mut program = Program::start(&arguments, &[]);
        program.wait_for_line("The sandbox listens", PATIENCE).await;
        RunningSandbox { program: Some(program), ..RunningSandbox::at(&address) }
    }

    /// The port of its listener.
    pub(crate) fn port(&self) -> u16 {
        self.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// The id of its process, if it has its own.
    pub(crate) fn id(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// Stops it: from now on its address refuses connections.
    pub(crate) fn stop(&mut self) {
        self.program = None;
    }

    /// Delays the answers to merchant calls by this much from now on.
    pub(crate) async fn delay_answers(&self, latency: Duration) {
        let milliseconds = u64::try_from(latency.as_millis()).unwrap();
        self.fault(&json!({ "fault": "latency", "milliseconds": milliseconds })).await;
    }

    /// Switches a fault of Atmos on.
    pub(crate) async fn fault(&self, fault: &Value) {
        self.fault_at("", fault).await;
    }

    /// Switches a fault on, of the gateway below this path: nothing, `/payme` or `/click`.
    pub(crate) async fn fault_at(&self, gateway: &str, fault: &Value) {
        let answer = self.client.post(format!("{}{gateway}/_sim/faults", self.url)).json(fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Changes how tokens are made, if fields are given, and returns the counts: `token_calls`, `issued`,
    /// `rejected_calls`.
    pub(crate) async fn tokens(&self, wish: &Value) -> Value {
        let answer = self.client.post(format!("{}/_sim/token", self.url)).json(wish).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// Another client with our credentials gets a token, which makes ours void.
    pub(crate) async fn log_in_elsewhere(&self) {
        let answer = self.client.delete(format!("{}/_sim/token", self.url)).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// The number of active faults; a fault for a number of strikes is gone after its last strike.
    pub(crate) async fn active_faults(&self) -> usize {
        let answer = self.client.get(format!("{}/_sim/faults", self.url)).send().await.unwrap();
        let faults: Value = answer.json().await.unwrap();
        faults["active"].as_array().unwrap().len()
    }

    /// Switches all faults of Atmos off.
    pub(crate) async fn clear_faults(&self) {
        self.clear_faults_at("").await;
    }

    /// Switches all faults off, of the gateway below this path.
    pub(crate) async fn clear_faults_at(&self, gateway: &str) {
        let answer = self.client.delete(format!("{}{gateway}/_sim/faults", self.url)).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Pays like a customer, and returns the result: `debited`, `refused`, …
    pub(crate) async fn pay(&self, transaction_id: i64) -> String {
        let answer = self.client.post(format!("{}/_sim/pay/{transaction_id}", self.url)).send().await.unwrap();
        let outcome: Value = answer.json().await.unwrap();
        outcome["outcome"].as_str().unwrap().to_owned()
    }

    /// The sandbox's ledger: every transaction with its account and number of debits.
    pub(crate) async fn ledger(&self) -> Vec<Value> {
        let answer = self.client.get(format!("{}/_sim/ledger", self.url)).send().await.unwrap();
        let book: Value = answer.json().await.unwrap();
        book["transactions"].as_array().unwrap().clone()
    }

    /// How often money was taken for an order, over all its transactions.
    pub(crate) async fn debits(&self, order_id: i64) -> i64 {
        let account = order_id.to_string();
        let book = self.ledger().await;
        book.iter().filter(|line| line["account"] == account).filter_map(|line| line["debits"].as_i64()).sum()
    }
}
