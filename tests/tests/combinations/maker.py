# Makes sockets as it is told and keeps them, and tries binds: one JSON document a line in, one out.
#   {"make": [{"proto", "address", "port", "words", "state", "over"}, …]}  ->  [0 or errno, …]
#   {"bind": [{"proto", "address", "port", "words"}, …]}                   ->  [0 or errno, …]
#   {"drop": true}                                                         ->  []
import ctypes, json, os, socket, struct, sys

IP_FREEBIND, IP_BIND_ADDRESS_NO_PORT, IP_LOCAL_PORT_RANGE, IPPROTO_MPTCP, NOBODY = 15, 24, 51, 262, 65534
TCP = ('tcp', 'mptcp')
libc = ctypes.CDLL(None, use_errno=True)
kept, tags = [], {}
# Who connects may meet another listener of the port, or nobody.
socket.setdefaulttimeout(0.2)


def family(address):
    return socket.AF_INET6 if ':' in address else socket.AF_INET


def place(address, port):
    host, _, zone = address.partition('%')
    if ':' in host:
        number = int(zone) if zone.isdigit() else socket.if_nametoindex(zone) if zone else 0
        return (host, port, 0, number)
    return (host, port)


def options(s, words, on):
    for word, option in (('reuse', socket.SO_REUSEADDR), ('reuseport', socket.SO_REUSEPORT)):
        if word in words:
            s.setsockopt(socket.SOL_SOCKET, option, on)


def make_socket(spec):
    words = spec['words']
    kind = socket.SOCK_STREAM if spec['proto'] in TCP else socket.SOCK_DGRAM
    number = IPPROTO_MPTCP if spec['proto'] == 'mptcp' else 0
    # A socket belongs to the effective user of who makes it.
    if 'nobody' in words:
        os.seteuid(NOBODY)
    try:
        s = socket.socket(family(spec['address']), kind, number)
    finally:
        os.seteuid(0)
    options(s, words, 1)
    if s.family == socket.AF_INET6:
        if 'v6only' in words:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if 'both' in words:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if 'freebind' in words:
        s.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    for word in words:
        if word.startswith('device='):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, word[7:].encode() + b'\0')
        if word.startswith('ifindex='):
            s.setsockopt(socket.SOL_SOCKET, 62, socket.if_nametoindex(word[8:]))
    return s


def bound(spec):
    s = make_socket(spec)
    s.bind(place(spec['address'], spec['port']))
    return s


def reach(spec):
    '''Where a client finds this server.'''
    host = spec['address'].partition('%')[0]
    if host in ('::', '0.0.0.0', '::ffff:0.0.0.0'):
        host = '::1' if host == '::' and spec.get('over') == 6 else '127.0.0.1'
    return host[7:] if host.startswith('::ffff:') else host


def pair(spec, listener):
    '''A connection to the listener: the client and what was accepted.'''
    to = reach(spec)
    client = socket.socket(family(to), socket.SOCK_STREAM)
    client.connect((to, spec['port']))
    return client, listener.accept()[0]


def helper(address):
    '''A listener that clients may connect to.'''
    key = ('helper', address)
    if key not in tags:
        tags[key] = socket.socket(family(address))
        tags[key].bind((address, 0))
        tags[key].listen(4096)
    return tags[key]


def unspec(s):
    if libc.connect(s.fileno(), struct.pack('H14x', 0), 16) != 0:
        raise OSError(ctypes.get_errno(), 'connect')


def make(spec):
    state, port = spec['state'], spec['port']
    if state == 'lent':
        # A port that the kernel lends: the range is this one port.
        client = make_socket(spec)
        client.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, port << 16 | port)
        to = helper(spec['address'])
        client.connect(to.getsockname())
        kept.append(client), kept.append(to.accept()[0])
        return
    s = bound(spec)
    if state in ('bound', 'udp'):
        kept.append(s)
    elif state == 'flipped':
        options(s, spec['words'], 0)
        kept.append(s)
    elif state == 'shared-late':
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.append(s)
    elif state == 'listen':
        s.listen()
        kept.append(s)
    elif state == 'listen-shut':
        s.listen()
        s.shutdown(socket.SHUT_RDWR)
        kept.append(s)
    elif state == 'gone':
        s.listen()
    elif state == 'listen-flipped':
        s.listen()
        options(s, spec['words'], 0)
        kept.append(s)
    elif state in ('client', 'client-time-wait', 'disconnected'):
        host = reach(spec)
        to = helper(host)
        s.connect(to.getsockname())
        accepted = to.accept()[0]
        if state == 'client':
            kept.append(s), kept.append(accepted)
        elif state == 'disconnected':
            unspec(s)
            kept.append(s)
        else:
            s.close(), accepted.close()
    elif state == 'refused':
        try:
            s.connect((reach(spec), 9))
        except OSError:
            pass
        kept.append(s)
    elif state == 'connected':
        s.connect((reach(spec), 9))
        kept.append(s)
    elif state == 'syn-sent':
        s.setblocking(False)
        try:
            s.connect(('10.77.0.77', 9) if s.family == socket.AF_INET else ('fd77::77', 9))
        except BlockingIOError:
            pass
        kept.append(s)
    else:
        s.listen()
        client, accepted = pair(spec, s)
        closes, who = state.split('/')
        if who == 'stays':
            kept.append(s)
        else:
            s.close()
        if closes == 'open':
            kept.append(client), kept.append(accepted)
        elif closes == 'time-wait':
            accepted.close(), client.close()
        elif closes == 'fin-wait':
            accepted.close(), kept.append(client)
        elif closes == 'close-wait':
            client.close(), kept.append(accepted)
        else:
            raise ValueError(state)


def tried(spec):
    s = make_socket(spec)
    s.bind(place(spec['address'], spec['port']))
    if spec['proto'] in TCP:
        s.listen()
    s.close()


def errno_of(act, spec):
    try:
        act(spec)
        return 0
    except OSError as error:
        return error.errno or -1


for line in sys.stdin:
    asked = json.loads(line)
    if 'make' in asked:
        print(json.dumps([errno_of(make, spec) for spec in asked['make']]))
    elif 'bind' in asked:
        print(json.dumps([errno_of(tried, spec) for spec in asked['bind']]))
    else:
        for s in kept:
            s.close()
        kept.clear()
        print('[]')
