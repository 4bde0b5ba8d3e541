//! The page of problem types.

use std::collections::BTreeMap;

use documents::{code, codes, part, table};

use super::support::TestApi;
use crate::description::{EXAMPLE_ID, example};
use crate::problem::ProblemType;

const PAGE: &str = "docs/reference/problem-types.md";

#[test]
fn the_reference_has_every_problem_type_with_its_status() {
    let rows = ProblemType::ALL.iter().map(|kind| {
        let document = example(*kind).document(EXAMPLE_ID);
        let detail = document["detail"].as_str().unwrap();
        // Of a problem that no description names there is no example.
        let detail = if detail == kind.slug() { "" } else { detail };
        [kind.status().to_string(), code(kind.slug()), kind.title().to_owned(), detail.to_owned()]
    });

    part(PAGE, "problem-types", &table(["status", "type", "title", "`detail`, for example"], rows));
}

/// As `/openapi.json` lists them.
#[tokio::test]
async fn the_reference_says_which_address_answers_which_problem() {
    let description = TestApi::start().await.get("/openapi.json").await.json();
    let known = |word: &&str| ProblemType::ALL.iter().any(|kind| kind.slug() == *word);
    let mut rows = BTreeMap::new();
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap().values();
            let answers = answers.filter_map(|answer| answer["description"].as_str());
            let problems: Vec<&str> = answers.flat_map(|answer| answer.split('`')).filter(known).collect();
            assert!(!problems.is_empty(), "{path}");
            rows.insert(format!("`{} {path}`", method.to_uppercase()), codes(problems));
        }
    }
    let named = |kind: &&ProblemType| rows.values().any(|problems| problems.contains(&code(kind.slug())));
    let others = ProblemType::ALL.iter().filter(|kind| !named(kind)).map(|kind| kind.slug());
    let others = ["any other address, or a request that cannot be read".to_owned(), codes(others)];

    let rows = rows.into_iter().map(|(address, problems)| [address, problems]).chain([others]);
    part(PAGE, "problem-types-by-address", &table(["address", "problem types"], rows));
}
