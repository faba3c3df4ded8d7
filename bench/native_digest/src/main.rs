//! Hashes standard input in one thread, and prints its digests.
//!
//! ```text
//! read SIZE      BLAKE3, reading SIZE bytes at a time
//! both SIZE      BLAKE3 and MD5
//! memory SIZE    BLAKE3 of what was read into memory before; prints nanoseconds
//!                of the hashing alone instead
//! ```

use std::io::{Read, stdin};
use std::process::ExitCode;
use std::time::Instant;

use md5::{Digest, Md5};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [mode, size] = &words[..] else {
        return ExitCode::from(64);
    };
    let Ok(size) = size.parse() else {
        return ExitCode::from(64);
    };
    let done = match &mode[..] {
        "read" => read(size, false),
        "both" => read(size, true),
        "memory" => memory(size),
        _ => return ExitCode::from(64),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read(size: usize, with_md5: bool) -> std::io::Result<()> {
    let mut input = stdin().lock();
    let mut buffer = vec![0; size];
    let mut blake3 = blake3::Hasher::new();
    let mut md5 = Md5::new();
    loop {
        // The lock's own buffer is passed by when ours is larger.
        let count = input.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        blake3.update(&buffer[..count]);
        if with_md5 {
            md5.update(&buffer[..count]);
        }
    }
    println!("{}", blake3.finalize());
    if with_md5 {
        println!("{:02x?}", &md5.finalize()[..]);
    }
    Ok(())
}

fn memory(size: usize) -> std::io::Result<()> {
    let mut content = Vec::new();
    stdin().lock().read_to_end(&mut content)?;
    let began = Instant::now();
    let mut blake3 = blake3::Hasher::new();
    for piece in content.chunks(size) {
        blake3.update(piece);
    }
    let digest = blake3.finalize();
    println!("{}", began.elapsed().as_nanos());
    println!("{digest}");
    Ok(())
}
