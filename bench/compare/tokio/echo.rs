//! A tokio echo of 4-byte frames as it is usually written: a task for each connection, LengthDelimitedCodec; `forward` flushes
//! when no further request is at hand.
use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt};
use tokio::net::TcpListener;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("tokio: listening on {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            let (sink, stream) = Framed::new(socket, LengthDelimitedCodec::new()).split();
            let _ = stream.map_ok(BytesMut::freeze).forward(sink).await;
        });
    }
}
