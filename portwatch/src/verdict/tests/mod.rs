#[cfg(target_os = "linux")]
mod connections;
#[cfg(target_os = "linux")]
mod kernel;
mod rules;
