//! Runbooks as pages.

use askama::Template;
use pulldown_cmark::{Event, Options, Parser, html};

#[derive(Template)]
#[template(path = "runbook.html")]
struct RunbookPage<'a> {
    title: &'a str,
    /// HTML made from our own Markdown, raw HTML in it shown as text.
    content: &'a str,
}

/// The page of one runbook, from its Markdown.
pub fn runbook(title: &str, markdown: &str) -> String {
    let events = Parser::new_ext(markdown, Options::ENABLE_TABLES).map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
        other => other,
    });
    let mut content = String::new();
    html::push_html(&mut content, events);
    RunbookPage { title, content: &content }.render().expect("rendering to a String cannot fail")
}

/// The list of all runbooks.
pub fn runbook_index<'a>(alerts: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> =
        alerts.into_iter().map(|alert| format!("- [{alert}](/runbooks/{alert})")).collect();
    runbook("Runbooks", &format!("# Runbooks\n\n{}\n", items.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_a_page_and_raw_html_stays_text() {
        let page = runbook("DatabaseDown", "# DatabaseDown\n\n`psql` <script>alert(1)</script>\n");
        assert!(page.contains("<title>DatabaseDown"), "{page}");
        assert!(page.contains("<code>psql</code>"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn the_index_links_every_runbook() {
        let page = runbook_index(["A", "B"]);
        assert!(page.contains(r#"<a href="/runbooks/A">A</a>"#) && page.contains("/runbooks/B"), "{page}");
    }
}
