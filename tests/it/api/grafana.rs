//! The requests of Grafana's Prometheus data source, sent as it sends them, and what its client needs of
//! the answers. Source: grafana/grafana `pkg/promlib`.

use std::net::SocketAddr;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{RECEIVER, Said, recently, send, series};
use crate::real::valmis::Valmis;
use crate::real::{http, turn};

/// Asks as `client.QueryResource` does: with POST, and with GET if that is not allowed or is no good.
async fn resource(address: SocketAddr, path: &str, parameters: &str) -> Said {
    let said = query(address, path, parameters).await;
    if [StatusCode::METHOD_NOT_ALLOWED, StatusCode::BAD_REQUEST].contains(&said.status) {
        return get(address, path, parameters).await;
    }
    said
}

/// Asks for one of the endpoints that Grafana knows to take nothing but GET.
async fn get(address: SocketAddr, path: &str, parameters: &str) -> Said {
    let url = format!("http://{address}/{path}?{parameters}");
    Said::of(request(Method::GET, url).send().await.unwrap()).await
}

/// Asks as `client.QueryRange` and its like do by default.
async fn query(address: SocketAddr, path: &str, form: &str) -> Said {
    let request = request(Method::POST, format!("http://{address}/{path}"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    Said::of(request.body(form.to_owned()).send().await.unwrap()).await
}

fn request(method: Method, url: String) -> reqwest::RequestBuilder {
    // The test's client accepts gzip as Go's does.
    http().request(method, url).header("user-agent", "Grafana/12.1.0").header("x-grafana-org-id", "1")
}

/// What `converter.ReadPrometheusStyleResult` takes for a result.
fn result<'a>(said: &'a Said, kind: &str) -> &'a Value {
    assert_eq!((said.status, &*said.content_type), (StatusCode::OK, "application/json"), "{said:?}");
    assert_eq!(said.body["status"], "success", "{said:?}");
    assert_eq!(said.body["data"]["resultType"], kind, "{said:?}");
    &said.body["data"]["result"]
}

fn texts(said: &Said) -> Vec<&str> {
    assert_eq!((said.status, &said.body["status"]), (StatusCode::OK, &Value::from("success")), "{said:?}");
    said.body["data"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn save_and_test_succeeds() {
    let _turn = turn().await;
    let valmis = Valmis::start_with(RECEIVER, &[]).await;
    // `healthcheck`: an instant query at the end of a range from 1 to 4 seconds after 1970.
    let said = query(valmis.address, "api/v1/query", "query=1%2B1&time=4").await;
    assert_eq!(*result(&said, "scalar"), serde_json::json!([4, "2"]));
    // `getHeuristics`: a server that lists features here is taken for Mimir.
    let said = resource(valmis.address, "api/v1/status/buildinfo", "").await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    assert!(said.body["data"]["features"].is_null(), "{said:?}");
    for text in ["version", "revision", "branch", "buildUser", "buildDate", "goVersion"] {
        assert!(said.body["data"][text].is_string(), "{text}: {said:?}");
    }
    // The editor unlocks what the version has.
    let version = said.body["data"]["version"].as_str().unwrap();
    let numbers: Vec<u32> = version.split('.').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 3, "{version}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_editor_and_explore_get_what_they_ask_for() {
    let _turn = turn().await;
    let rule = "groups: [{name: g, rules: [{record: 'job:x:sum', expr: 'sum(x)'}]}]";
    let rules = [("rules.yaml".to_owned(), rule.to_owned())];
    let valmis = Valmis::start_with(RECEIVER, &rules).await;
    let end = recently();
    for (instance, value) in [("a", 1.5), ("b", 2.0)] {
        let labels = [("__name__", "x"), ("instance", instance), ("job", "grafana")];
        send(valmis.address, &series(&labels, end, &[value; 40])).await;
    }
    let address = valmis.address;
    let (from, to) = (end / 1000 - 600, end / 1000);
    let period = format!("start={from}&end={to}");

    // The builder: names, labels, values, with the selection made so far.
    let said = resource(address, "api/v1/labels", &format!("{period}&match[]=x&limit=40000")).await;
    assert_eq!(texts(&said), ["__name__", "instance", "job"]);
    let said = get(address, "api/v1/label/__name__/values", &format!("{period}&limit=40000")).await;
    assert!(texts(&said).contains(&"x"));
    let selection = "match%5B%5D=%7Bjob%3D%22grafana%22%7D";
    let said = get(address, "api/v1/label/instance/values", &format!("{period}&{selection}&limit=1")).await;
    assert_eq!(texts(&said), ["a"]);
    assert_eq!(said.body["warnings"], serde_json::json!(["results truncated due to limit"]));
    let said = resource(address, "api/v1/series", &format!("{period}&{selection}&limit=40000")).await;
    assert_eq!(said.body["data"].as_array().unwrap().len(), 2, "{said:?}");
    let said = get(address, "api/v1/metadata", "limit=5000").await;
    let known = &said.body["data"]["valmis_component_ready"][0];
    assert_eq!(known["type"], "gauge", "{said:?}");
    assert!(known["help"].is_string() && known["unit"].is_string(), "{known}");
    let said = get(address, "api/v1/rules", "").await;
    let rule = &said.body["data"]["groups"][0]["rules"][0];
    assert_eq!((&rule["name"], &rule["query"]), (&Value::from("job:x:sum"), &Value::from("sum(x)")));

    // Panels: a range, an instant, and exemplars of the same range.
    let form = format!("query=x&start={from}&end={to}&step=15&timeout=60s");
    let said = query(address, "api/v1/query_range", &form).await;
    let matrix = result(&said, "matrix").as_array().unwrap();
    assert_eq!(matrix.len(), 2);
    for one in matrix {
        let points = one["values"].as_array().unwrap();
        assert_eq!(points.len(), 40, "{one}");
        assert!(points.iter().all(|point| point[0].is_number() && point[1].is_string()), "{one}");
    }
    let said = query(address, "api/v1/query", &format!("query=sum(x)&time={to}.25")).await;
    let vector = result(&said, "vector");
    assert_eq!(vector[0]["value"], serde_json::json!([to as f64 + 0.25, "3.5"]));
    let said = query(address, "api/v1/query_exemplars", &form).await;
    assert_eq!((said.status, &said.body["data"]), (StatusCode::OK, &serde_json::json!([])), "{said:?}");
    // Errors are shown with their type.
    let said = query(address, "api/v1/query_range", &form.replace("query=x", "query=x%7B")).await;
    assert_eq!(said.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        (&said.body["status"], &said.body["errorType"]),
        (&Value::from("error"), &Value::from("bad_data"))
    );
    assert!(said.error().starts_with("invalid parameter \"query\": 1:3: parse error:"), "{}", said.error());
}
