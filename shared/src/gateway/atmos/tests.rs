use super::*;

const MS: Duration = Duration::from_millis(1);

pub(super) fn config(base_url: &str) -> AtmosConfig {
    AtmosConfig {
        consumer_key: "sandbox-key".to_owned(),
        consumer_secret: Secret::new("very-secret-consumer-secret"),
        store_id: "1234".to_owned(),
        terminal_id: None,
        api_keys: vec![Secret::new("test_api_key")],
        sign_algorithm: SignAlgorithm::Md5,
        base_url: Url::parse(base_url).unwrap(),
        checkout_url: Url::parse("https://test-checkout.pays.uz").unwrap(),
        proxy_url: None,
        call_timeout: 5_000 * MS,
    }
}
