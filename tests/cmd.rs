//! The command line as people type it: every `console` block of `tests/cmd/*.md` is run, and must print what it shows.

#[test]
fn commands_print_what_the_pages_show() {
    trycmd::TestCases::new().case("tests/cmd/*.md");
}
