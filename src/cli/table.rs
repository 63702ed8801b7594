//! Tables for people: no borders, as wide as the terminal.

use std::fmt;

use comfy_table::{Attribute, Cell, ContentArrangement, presets};

use super::{Context, Style};

/// A table that is printed as it is displayed.
#[derive(Debug)]
pub struct Table {
    table: comfy_table::Table,
    colored: bool,
}

impl Table {
    /// An empty table for stdout with these headings.
    pub fn new<const N: usize>(context: &Context, headings: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        let colored = context.colored();
        if colored {
            table.enforce_styling();
        }
        table.set_header(headings.map(|heading| cell(colored, Style::Faint, heading)));
        Table { table, colored }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
    }

    /// Adds a row of texts with their meanings.
    pub fn styled_row<const N: usize>(&mut self, cells: [(Option<Style>, String); N]) {
        let colored = self.colored;
        self.table.add_row(cells.map(|(style, text)| match style {
            Some(style) => cell(colored, style, text),
            None => Cell::new(text),
        }));
    }
}

fn cell(colored: bool, style: Style, text: impl ToString) -> Cell {
    let cell = Cell::new(text);
    match style {
        _ if !colored => cell,
        Style::Good => cell.fg(comfy_table::Color::DarkGreen),
        Style::Bad => cell.fg(comfy_table::Color::DarkRed),
        Style::Warn => cell.fg(comfy_table::Color::DarkYellow),
        Style::Strong => cell.add_attribute(Attribute::Bold),
        Style::Faint => cell.add_attribute(Attribute::Dim),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.table.to_string();
        // Every cell is padded by a space on both sides; the first and the last serve nobody.
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
            .collect();
        f.write_str(&lines.join("\n"))
    }
}
