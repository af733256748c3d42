//! What LengthDelimitedCodec takes for a frame of 64 KiB that has come: a line of JSON for each size of payload given. Filling the
//! buffer, which a receive would do, is not in it.
use bytes::{BufMut, BytesMut};
use std::time::{Duration, Instant};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

const BUFFER: usize = 64 << 10;

fn main() {
    for payload in std::env::args().skip(1).map(|size| size.parse::<usize>().expect("a size")) {
        let frames = BUFFER / (4 + payload);
        let mut bytes = Vec::new();
        for _ in 0..frames {
            bytes.put_u32(payload as u32);
            bytes.resize(bytes.len() + payload, b'f');
        }
        let mut codec = LengthDelimitedCodec::new();
        let mut taken = Duration::ZERO;
        let mut passes = 0;
        while taken < Duration::from_millis(50) {
            let mut buffer = BytesMut::with_capacity(BUFFER);
            buffer.extend_from_slice(&bytes);
            let start = Instant::now();
            let mut seen = 0;
            while let Ok(Some(frame)) = codec.decode(&mut buffer) {
                seen += 4 + frame.len();
            }
            taken += start.elapsed();
            passes += 1;
            assert_eq!(seen, bytes.len());
        }
        println!("{{\"payload\": {payload}, \"ns\": {:.3}}}", taken.as_nanos() as f64 / (frames * passes) as f64);
    }
}
