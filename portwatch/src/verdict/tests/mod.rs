#[cfg(target_os = "linux")]
mod kernel;
mod rules;
