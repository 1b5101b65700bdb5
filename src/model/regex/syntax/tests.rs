//! The syntax by what it matches and what it refuses.

use super::super::GoRegex;

#[test]
fn patterns_mean_what_they_mean_in_go() {
    let check = |pattern: &str, matching: &[&str], other: &[&str]| {
        let regex = GoRegex::anchored(pattern).unwrap_or_else(|e| panic!("{e}"));
        for text in matching {
            assert!(regex.is_match(text), "{pattern} should match {text:?}");
        }
        for text in other {
            assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
        }
    };
    // ASCII classes, and a dot that matches everything.
    check("x.y", &["x\ny", "xéy"], &["xy"]);
    check(r"\d", &["5"], &["٣", "a"]);
    check(r"\D", &["٣", "a", "\n"], &["5"]);
    check(r"\w", &["a", "_", "0"], &["é", "-"]);
    check(r"\s", &[" ", "\n", "\x0c"], &["\u{a0}", "\x0b"]);
    check(r"é\b.a", &["éxa"], &["é a"]);
    check(r"é\B.a", &["é a"], &["éxa"]);
    check("[[:word:]]", &["_"], &["é"]);
    check("[[:space:]]", &["\x0b"], &["\u{a0}"]);
    check("[[:^alpha:]]", &["1", "é"], &["a"]);
    // Classes hold characters and ranges, nothing else.
    check("[a&&b]", &["a", "&", "b"], &["c"]);
    check("[+--b]", &["+", ",", "-", "b"], &["a"]);
    check("[[a]]", &["[]", "a]"], &["a"]);
    check("[]a]", &["]", "a"], &[""]);
    check("[^]a]", &["b", "\n"], &["]", "a"]);
    check("[a~~b]", &["~"], &[]);
    check(r"[\d\-x]", &["5", "-", "x"], &["y"]);
    check(r"[\x41-\x{43}]", &["A", "B", "C"], &["D"]);
    check(r"[\101]", &["A"], &[]);
    check("[[:x]", &["[", ":", "x"], &["]"]);
    check("[a-]", &["a", "-"], &["b"]);
    // Quoting and escapes.
    check(r"\Qa.b*\E+", &["a.b**"], &["axb*"]);
    check(r"\Qa.", &["a."], &["ab"]);
    check(r"\<\>\_", &["<>_"], &[]);
    check(r"\x41\x{1F600}\0\07\101\a", &["A😀\0\x07A\x07"], &[]);
    check(r"\Aa\z", &["a"], &["a\n"]);
    check(r"\b{start}", &[], &["{start}"]);
    check("a{,2}", &["a{,2}"], &["aa"]);
    check("a{01}", &["a{01}"], &["a"]);
    check("{{x}}", &["{{x}}"], &[]);
    check("a{2}", &["aa"], &["a"]);
    check("a{1,}", &["a", "aaa"], &[""]);
    // Groups and flags.
    check("(?i)AbC", &["aBc"], &["abd"]);
    check("(?i)k", &["K", "\u{212a}"], &[]);
    check("a(?i)b|c", &["aB", "C"], &["AB"]);
    check("(?:a(?i)b)c", &["aBc"], &["aBC"]);
    check("(?-s)a.b", &["axb"], &["a\nb"]);
    check("(?i-s:A.)b", &["axb"], &["a\nb", "axB"]);
    check("(?m)a$\n^b", &["a\nb"], &[]);
    check("a(?i)*", &["", "aa"], &["A"]);
    check("(?P<x>a)(?<1y>b)", &["ab"], &[]);
    check("()|a", &["", "a"], &[]);
    check("|", &[""], &["|"]);
    check("^*a$*", &["a"], &[]);
    // Unicode classes.
    check(r"\pL\p{Greek}\P{Lu}\p{^Lu}", &["aβbc"], &["abcd", "aβBc"]);
    check(r"\p{Any}", &["\n"], &[""]);
}

#[test]
fn faults_are_told_in_go_words() {
    let check = |pattern: &str, expected: &str| {
        let error = GoRegex::anchored(pattern).expect_err(pattern);
        assert_eq!(error.to_string(), format!("error parsing regexp: {expected}"));
    };
    check("(", "missing closing ): `(`");
    check("(a|b", "missing closing ): `(a|b`");
    check("a)", "unexpected ): `a)`");
    check("[a", "missing closing ]: `[a`");
    check("x[]", "missing closing ]: `[]`");
    check("[b-a]", "invalid character class range: `b-a`");
    check(r"[a-\d]", r"invalid escape sequence: `\d`");
    check("[[:nope:]]", "invalid character class range: `[:nope:]`");
    check(r"\p{Nope}", r"invalid character class range: `\p{Nope}`");
    check(r"\p{Greek", r"invalid character class range: `\p{Greek`");
    check("*", "missing argument to repetition operator: `*`");
    check("a|+?", "missing argument to repetition operator: `+?`");
    check("(?i)*", "missing argument to repetition operator: `*`");
    check("({2})", "missing argument to repetition operator: `{2}`");
    check("a**", "invalid nested repetition operator: `**`");
    check("a+{2}?", "invalid nested repetition operator: `+{2}?`");
    check("x{1001}", "invalid repeat count: `{1001}`");
    check("x{2,1}", "invalid repeat count: `{2,1}`");
    check("x{99999999999}", "invalid repeat count: `{99999999999}`");
    check("((a{100}){100}){100}", "invalid repeat count: `{100}`");
    check("(?x)a", "invalid or unsupported Perl syntax: `(?x`");
    check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`");
    check("(?<=a)", "invalid named capture: `(?<=a)`");
    check("(?P<a-b>c)", "invalid named capture: `(?P<a-b>`");
    check(r"\1", r"invalid escape sequence: `\1`");
    check(r"\C", r"invalid escape sequence: `\C`");
    check(r"\Z", r"invalid escape sequence: `\Z`");
    check(r"\é", r"invalid escape sequence: `\é`");
    check(r"\x{110000}", r"invalid escape sequence: `\x{110000`");
    check(r"\xg1", r"invalid escape sequence: `\xg1`");
    check("a\\", "trailing backslash at end of expression: ``");
    let deep = "(".repeat(100_000);
    check(&deep, &format!("expression nests too deeply: `{deep}`"));
}

#[test]
fn the_deepest_allowed_pattern_is_compiled() {
    let levels = super::MAX_NESTING;
    let pattern = format!("{}a{}", "(b?".repeat(levels), ")*".repeat(levels));
    assert!(GoRegex::anchored(&pattern).expect("valid").is_match("bab"));
}
