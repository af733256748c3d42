#!/usr/bin/env escript
%% An Erlang end with every habit that the tests want to meet. Frames are read and written by {packet,4}, unless said otherwise.
%% Whoever wants a recipe reads docs/erlang.md; twisted_peer.py beside this speaks the same command line.
%%
%%   serve MANNER...   prints "listening on HOST:PORT", then a line for each event; ends when its standard input does
%%       echo              answers every frame with itself
%%       limit BYTES       echo with {packet_size, BYTES}
%%       careless          echo as most people write it: the peer's end closes the socket both ways
%%       dribble SEED      echo, each reply written in pieces of 1 to 13 bytes
%%       bytes SEED        {packet,raw}: sends back the bytes that come, cut anew at random, sometimes one by one
%%       push COUNT SEED LARGEST   sends frames that nobody asked for, then the end
%%       sink              answers nothing; at the end says how many frames came, how many bytes, and their MD5
%%       late COUNT MS     takes COUNT frames, looks for the peer's end so long, and answers only if it has not come
%%       patient COUNT     takes COUNT frames, waits for the peer's end, and only then answers
%%       first COUNT       answers COUNT frames, then closes without reading further
%%       close             closes at once, without reading
%%       swapped|dropped|reordered|altered    echo, with that fault
%%   call PORT COUNT SEED LARGEST one|pipelined|dribble      calls an echo, compares; "ok COUNT", or "FAILED ..." and exit 1
%%   connections PORT COUNT      that many connections at once, two calls on each
%%   ask PORT LIMIT SIZE...      calls with SIZE bytes each, {packet_size, LIMIT}; prints what recv gives
%%   overstep PORT COUNT SIZE TOO_LONG   sends COUNT frames of SIZE bytes and one of TOO_LONG, and only then reads
%%   hear PORT LIMIT             prints what recv gives until it gives an error, and once more
%%   listen PORT LIMIT           {active, true}: prints the messages until the socket is closed
%%   impatient PORT              recv until it times out, sends "timed out", recv again
-mode(compile).

-define(PATIENCE_MS, 60000).

main(["serve" | Manner]) ->
    {ok, Listener} = gen_tcp:listen(0, options() ++ server_options(Manner)),
    {ok, Port} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Port]),
    spawn(fun() -> accept(Listener, Manner) end),
    wait_for_end_of_input();
main(["call", Port, Count, Seed, Largest, How]) ->
    Payloads = payloads(num(Count), num(Seed), num(Largest)),
    Socket = connect(Port, []),
    case catch call_all(How, Socket, Payloads) of
        ok -> io:format("ok ~b~n", [length(Payloads)]);
        Why -> io:format("FAILED ~0p~n", [shortened(Why)]), halt(1)
    end;
main(["connections", Port, Count]) ->
    Sockets = [connect(Port, []) || _ <- lists:seq(1, num(Count))],
    Payloads = payloads(num(Count), 1, 2000),
    Pairs = lists:zip(Sockets, Payloads),
    [ok = gen_tcp:send(S, P) || _ <- [1, 2], {S, P} <- Pairs],
    [{ok, P} = gen_tcp:recv(S, 0, ?PATIENCE_MS) || _ <- [1, 2], {S, P} <- Pairs],
    io:format("ok ~b~n", [length(Pairs)]);
main(["ask", Port, Limit | Sizes]) ->
    Socket = connect(Port, [{packet_size, num(Limit)}]),
    [begin
         Sent = gen_tcp:send(Socket, binary:copy(<<"x">>, num(Size))),
         io:format("~0p ~0p~n", [Sent, what_came(gen_tcp:recv(Socket, 0, ?PATIENCE_MS))])
     end || Size <- Sizes];
main(["overstep", Port, Count, Size, TooLong]) ->
    Socket = connect(Port, []),
    Frames = [binary:copy(<<"x">>, num(N)) || N <- lists:duplicate(num(Count), Size) ++ [TooLong]],
    [ok = gen_tcp:send(Socket, Frame) || Frame <- Frames],
    io:format("~b replies, then ~0p~n", replies(Socket, num(Size), 0));
main(["hear", Port, Limit]) ->
    hear(connect(Port, [{packet_size, num(Limit)}]));
main(["listen", Port, Limit]) ->
    Socket = connect(Port, [{packet_size, num(Limit)}, {active, true}]),
    listen(Socket);
main(["impatient", Port]) ->
    Socket = connect(Port, []),
    io:format("~0p~n", [gen_tcp:recv(Socket, 0, 200)]),
    ok = gen_tcp:send(Socket, <<"timed out">>),
    io:format("~0p~n", [gen_tcp:recv(Socket, 0, ?PATIENCE_MS)]).

options() ->
    [binary, {packet, 4}, {active, false}, {nodelay, true}, {ip, {127, 0, 0, 1}}, {backlog, 1024}].

server_options(["bytes" | _]) -> [{packet, raw}];
server_options(["limit", Bytes]) -> [{packet_size, num(Bytes)}];
server_options(["careless"]) -> [{exit_on_close, true}];
server_options(["late" | _]) -> [{exit_on_close, true}];
server_options(_) -> [{exit_on_close, false}].

connect(Port, Options) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, num(Port), (options() -- [{backlog, 1024}]) ++ Options, ?PATIENCE_MS),
    Socket.

num(Text) -> list_to_integer(Text).

%% ---- serving ----

accept(Listener, Manner) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Pid = spawn(fun() -> receive start -> serve(Manner, Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! start,
    accept(Listener, Manner).

wait_for_end_of_input() ->
    case io:get_line("") of
        eof -> halt(0);
        {error, _} -> halt(0);
        _ -> wait_for_end_of_input()
    end.

serve(["dribble", Seed], Socket) -> seed(num(Seed)), echo(Socket, fun send_dribbled/2);
serve(["bytes", Seed], Socket) -> seed(num(Seed)), send_back_bytes(Socket);
serve(["push", Count, Seed, Largest], Socket) ->
    Payloads = payloads(num(Count), num(Seed), num(Largest)),
    [ok = gen_tcp:send(Socket, P) || P <- Payloads],
    io:format("pushed ~s~n", [summary(Payloads)]),
    close_in_order(Socket);
serve(["sink"], Socket) -> sink(Socket, []);
serve(["late", Count, Ms], Socket) -> late(Socket, num(Count), num(Ms));
serve(["patient", Count], Socket) ->
    Payloads = take(Socket, num(Count)),
    {error, closed} = gen_tcp:recv(Socket, 0, ?PATIENCE_MS),
    [ok = gen_tcp:send(Socket, P) || P <- Payloads],
    gen_tcp:close(Socket);
serve(["first", Count], Socket) ->
    [begin {ok, P} = gen_tcp:recv(Socket, 0, ?PATIENCE_MS), ok = gen_tcp:send(Socket, P) end || _ <- lists:seq(1, num(Count))],
    gen_tcp:close(Socket);
serve(["close"], Socket) -> gen_tcp:close(Socket);
serve(["swapped"], Socket) ->
    echo(Socket, fun(S, P) -> send_raw(S, [<<(byte_size(P)):32/little>>, P]) end);
serve(["altered"], Socket) ->
    echo(Socket, fun(S, P) -> gen_tcp:send(S, altered(P)) end);
serve(["dropped"], Socket) ->
    echo(Socket, fun(S, P) -> case get(n) of 2 -> ok; _ -> gen_tcp:send(S, P) end end);
serve(["reordered"], Socket) ->
    echo(Socket, fun(S, P) ->
                         case get(n) of
                             1 -> put(kept, P), ok;
                             2 -> ok = gen_tcp:send(S, P), gen_tcp:send(S, get(kept));
                             _ -> gen_tcp:send(S, P)
                         end
                 end);
serve(_, Socket) -> echo(Socket, fun gen_tcp:send/2).

altered(<<First, Rest/binary>>) -> <<(First bxor 1), Rest/binary>>;
altered(<<>>) -> <<0>>.

%% Send gets each payload and may look up with get(n) the how manieth it is.
echo(Socket, Send) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Payload} ->
            put(n, case get(n) of undefined -> 1; N -> N + 1 end),
            case Send(Socket, Payload) of
                ok -> echo(Socket, Send);
                {error, Why} -> say("send", Why), gen_tcp:close(Socket)
            end;
        {error, Why} -> say("recv", Why), gen_tcp:close(Socket)
    end.

say(What, Why) -> io:format("~s ~0p~n", [What, Why]).

send_back_bytes(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Bytes} -> ok = send_pieces(Socket, Bytes, lists:nth(rand:uniform(4), [1, 7, 1500, 70000]), 300),
                       send_back_bytes(Socket);
        {error, Why} -> say("recv", Why), gen_tcp:close(Socket)
    end.

sink(Socket, Taken) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, P} -> sink(Socket, [P | Taken]);
        {error, Why} ->
            io:format("took ~s~n", [summary(lists:reverse(Taken))]),
            say("recv", Why),
            gen_tcp:close(Socket)
    end.

summary(Payloads) ->
    Sum = lists:foldl(fun(P, S) -> erlang:md5([S, P]) end, <<>>, Payloads),
    Text = string:lowercase(binary:encode_hex(Sum)),
    io_lib:format("~b frames, ~b bytes, ~s", [length(Payloads), iolist_size(Payloads), Text]).

late(Socket, Count, Ms) ->
    Payloads = take(Socket, Count),
    case gen_tcp:recv(Socket, 0, Ms) of
        {error, timeout} -> [ok = gen_tcp:send(Socket, P) || P <- Payloads], say("answered", Count),
                            close_in_order(Socket);
        {error, closed} -> say("the end came first:", gen_tcp:send(Socket, hd(Payloads)));
        {ok, _} -> say("late", too_many)
    end.

take(Socket, Count) ->
    [begin {ok, P} = gen_tcp:recv(Socket, 0, ?PATIENCE_MS), P end || _ <- lists:seq(1, Count)].

%% The end, then what still comes is thrown away, as PROTOCOL.md §2.9 has it.
close_in_order(Socket) ->
    gen_tcp:shutdown(Socket, write),
    read_to_end(Socket),
    gen_tcp:close(Socket).

read_to_end(Socket) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, _} -> read_to_end(Socket);
        {error, Why} -> Why
    end.

%% ---- calling ----

call_all("one", Socket, Payloads) ->
    [begin ok = gen_tcp:send(Socket, P), expect(Socket, P) end || P <- Payloads],
    nothing_more(Socket);
call_all("pipelined", Socket, Payloads) ->
    spawn(fun() -> [gen_tcp:send(Socket, P) || P <- Payloads] end),
    [expect(Socket, P) || P <- Payloads],
    nothing_more(Socket);
call_all("dribble", Socket, Payloads) ->
    [begin ok = send_dribbled(Socket, P), expect(Socket, P) end || P <- Payloads],
    nothing_more(Socket).

expect(Socket, Payload) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, Payload} -> ok;
        Other -> throw({expected, byte_size(Payload), got, what_came(Other)})
    end.

nothing_more(Socket) ->
    gen_tcp:shutdown(Socket, write),
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {error, closed} -> ok;
        Other -> throw({expected, the_end, got, what_came(Other)})
    end.

hear(Socket) ->
    Came = gen_tcp:recv(Socket, 0, ?PATIENCE_MS),
    io:format("~0p~n", [what_came(Came)]),
    case Came of
        {ok, _} -> hear(Socket);
        {error, _} -> io:format("then ~0p~n", [gen_tcp:recv(Socket, 0, ?PATIENCE_MS)])
    end.

replies(Socket, Size, N) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE_MS) of
        {ok, Reply} when byte_size(Reply) =:= Size -> replies(Socket, Size, N + 1);
        Other -> [N, what_came(Other)]
    end.

listen(Socket) ->
    receive
        {What, Socket} -> io:format("~0p~n", [{What}]), What =:= tcp_closed orelse listen(Socket);
        {What, Socket, How} -> io:format("~0p~n", [{What, How}]), listen(Socket)
    after ?PATIENCE_MS -> say("no message", timeout)
    end.

what_came({ok, Payload}) when byte_size(Payload) > 40 -> {ok, byte_size(Payload)};
what_came(Other) -> Other.

shortened(Why) -> lists:sublist(lists:flatten(io_lib:format("~0P", [Why, 12])), 300).

%% ---- pieces ----

%% The length word in pieces too: {packet,4} would write it with the first byte, so it is switched off for the while.
send_dribbled(Socket, Payload) ->
    send_raw(Socket, <<(byte_size(Payload)):32, Payload/binary>>, 13).

send_raw(Socket, Bytes) ->
    send_raw(Socket, iolist_to_binary(Bytes), 1 bsl 31).

send_raw(Socket, Bytes, Most) ->
    ok = inet:setopts(Socket, [{packet, raw}]),
    ok = send_pieces(Socket, Bytes, Most, 300),
    inet:setopts(Socket, [{packet, 4}]).

%% Pieces of 1 to Most bytes, at most so many; then the rest.
send_pieces(_, <<>>, _, _) -> ok;
send_pieces(Socket, Bytes, _, 0) -> gen_tcp:send(Socket, Bytes);
send_pieces(Socket, Bytes, Most, Pieces) ->
    N = min(rand:uniform(Most), byte_size(Bytes)),
    <<Piece:N/binary, Rest/binary>> = Bytes,
    ok = gen_tcp:send(Socket, Piece),
    send_pieces(Socket, Rest, Most, Pieces - 1).

%% ---- payloads ----

seed(Seed) -> rand:seed(exsss, Seed).

%% Every size where something might break, as long as Count and Largest allow; then any.
payloads(Count, Seed, Largest) ->
    seed(Seed),
    Edges = [N || N <- [0, 1, 2, 3, 4, 5, 0, 0, 63, 255, 256, 257, 4091, 4092, 4096, 65531, 65532, 65533,
                        65535, 65536, 65537, 99999, 3 bsl 20, 5 bsl 20 + 1], N =< Largest],
    Random = [random_size(Largest) || _ <- lists:seq(1, Count)],
    [rand:bytes(N) || N <- lists:sublist(Edges ++ Random, Count)].

%% Small ones as often as large ones.
random_size(Largest) ->
    min(Largest, rand:uniform(1 bsl (rand:uniform(17) - 1)) - 1).
