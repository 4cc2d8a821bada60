//! `config`: every setting in effect and its origin.

use std::io::{self, Write};

use super::{
    Look, Text, Tone,
    table::{self, Column},
};
use crate::wire::ConfigReport;

const COLUMNS: [Column; 4] = [
    Column { title: "SETTING", priority: 0, least: 0, right: false },
    Column { title: "VALUE", priority: 0, least: 12, right: false },
    Column { title: "FROM", priority: 1, least: 0, right: false },
    Column { title: "VARIABLE", priority: 2, least: 0, right: false },
];

/// Writes the answer.
pub fn config(out: &mut dyn Write, report: &ConfigReport, look: &Look) -> io::Result<()> {
    let rows: Vec<_> = report
        .settings
        .iter()
        .map(|setting| {
            let value = match &setting.value {
                serde_json::Value::Null => "-".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let tone = if setting.origin == "default" { Tone::Faint } else { Tone::Strong };
            vec![
                (Tone::Plain, setting.name.clone()),
                (Tone::Plain, value),
                (tone, setting.origin.clone()),
                (Tone::Faint, setting.variable.clone().unwrap_or_default()),
            ]
        })
        .collect();
    table::write(out, &COLUMNS, &rows, look)?;
    let mut line = Text::new(look);
    match &report.file {
        Some(file) if report.file_read => line.push(Tone::Faint, &format!("file: {file}")),
        Some(file) => {
            let why = report.file_problem.as_deref().unwrap_or("there is none");
            line.push(Tone::Faint, &format!("file: {file} ({why})"))
        }
        None => line.push(Tone::Faint, "file: none; neither XDG_CONFIG_HOME nor HOME is set"),
    };
    line.wrapped(out, 2)?;
    if let Some(file) = &report.project_file {
        let mut line = Text::new(look);
        line.push(Tone::Faint, &format!("project: {file}"));
        line.wrapped(out, 2)?;
    }
    Ok(())
}
