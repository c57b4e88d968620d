//! The program in the images of these tests: says a line on each stream and waits, or ends with a code.

use std::io::Write;

unsafe extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn end(_signal: i32) {
    std::process::exit(0)
}

fn main() {
    // The first process of a container has no default handlers: without one, every stop takes its whole time.
    // SAFETY: SIGTERM, and a handler that only ends the process.
    unsafe { signal(15, end) };
    println!("to stdout");
    eprintln!("to stderr");
    std::io::stdout().flush().expect("stdout is open");
    match std::env::args().nth(1).and_then(|code| code.parse().ok()) {
        Some(code) => std::process::exit(code),
        None => loop {
            std::thread::park();
        },
    }
}
