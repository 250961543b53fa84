//! What the host must know of a program's text: its kernels, and where it declares dynamic shared memory, which no C++ compiler takes as
//! CUDA writes it. The text is looked at without its comments and strings, which keep their places.

/// A kernel with C linkage: only such have the name that they are asked for by.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    pub name: String,
    /// The namespaces that it is defined in, as `a::b::`.
    pub within: String,
    /// The first argument of `__launch_bounds__`; "0" without one.
    pub bound: String,
}

/// The text with blanks for comments, strings and characters.
fn bare(source: &str) -> Vec<u8> {
    let bytes = source.as_bytes();
    let mut bare = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = match rest {
            [b'/', b'/', ..] => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.windows(2).skip(2).position(|w| w == b"*/").map_or(rest.len(), |n| n + 4),
            [quote @ (b'"' | b'\''), ..] => {
                let mut end = 1;
                while end < rest.len() && rest[end] != *quote && rest[end] != b'\n' {
                    end += if rest[end] == b'\\' { 2 } else { 1 };
                }
                (end + 1).min(rest.len())
            }
            _ => {
                at += 1;
                continue;
            }
        };
        bare[at..at + end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
        at += end;
    }
    bare
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Where a word stands, from `from` on.
fn find(text: &[u8], word: &str, from: usize) -> Option<usize> {
    let word = word.as_bytes();
    let mut at = from;
    while at + word.len() <= text.len() {
        let found = at + text[at..].windows(word.len()).position(|w| w == word)?;
        let behind = text.get(found + word.len()).copied().unwrap_or(b' ');
        if (found == 0 || !is_word(text[found - 1])) && !is_word(behind) {
            return Some(found);
        }
        at = found + 1;
    }
    None
}

fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at].is_ascii_whitespace() {
        at += 1;
    }
    at
}

/// Behind the parenthesis that closes the one at `at`.
fn closing(text: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, byte) in text.iter().enumerate().skip(at) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i + 1);
        }
    }
    None
}

/// The kernels that a program defines.
pub fn kernels(source: &str) -> Vec<Kernel> {
    let text = bare(source);
    let mut kernels = Vec::new();
    let mut from = 0;
    while let Some(at) = find(&text, "__global__", from) {
        from = at + 1;
        let line = text[..at].iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        let macro_line = text[skip_blanks(&text, line)..].first() == Some(&b'#');
        if macro_line || !c_linkage(source, &text, at) {
            continue;
        }
        kernels.extend(kernel(&text, at + "__global__".len()).map(|k| Kernel { within: namespaces(&text, at), ..k }));
    }
    kernels
}

/// `extern "C"` stands before it, or around it.
fn c_linkage(source: &str, text: &[u8], at: usize) -> bool {
    let start = text[..at].iter().rposition(|b| matches!(b, b';' | b'{' | b'}' | b'\n')).map_or(0, |n| n + 1);
    // One line before as well: `extern "C"` may have its own.
    let start = text[..start.saturating_sub(1)]
        .iter()
        .rposition(|b| matches!(b, b';' | b'{' | b'}'))
        .map_or(0, |n| n + 1)
        .min(start);
    let before = source.get(start..at).unwrap_or_default();
    let compact: String = source.get(..at).unwrap_or_default().split_whitespace().collect();
    before.contains("extern \"C\"") || compact.contains("extern\"C\"{")
}

/// The kernel whose declaration goes on at `at`, if that is a definition.
fn kernel(text: &[u8], mut at: usize) -> Option<Kernel> {
    let mut bound = "0".to_owned();
    loop {
        at = skip_blanks(text, at);
        let start = at;
        while at < text.len() && is_word(text[at]) {
            at += 1;
        }
        let word = std::str::from_utf8(&text[start..at]).ok()?;
        let open = skip_blanks(text, at);
        if word.is_empty() || text.get(open) != Some(&b'(') {
            if word.is_empty() {
                return None;
            }
            continue;
        }
        let end = closing(text, open)?;
        match word {
            "__launch_bounds__" => {
                let inside = std::str::from_utf8(&text[open + 1..end - 1]).ok()?;
                bound = format!("({})", inside.split(',').next()?.trim());
            }
            "__attribute__" | "__maxnreg__" | "__cluster_dims__" | "__align__" => {}
            name => {
                let defined = text.get(skip_blanks(text, end)) == Some(&b'{');
                return defined.then(|| Kernel { name: name.into(), within: String::new(), bound });
            }
        }
        at = end;
    }
}

/// The text with its declarations of dynamic shared memory (`extern __shared__ T name[];`) as pointers to where the host has it.
pub fn with_dynamic_shared(source: &str) -> String {
    let text = bare(source);
    let mut out = String::with_capacity(source.len());
    let (mut done, mut from) = (0, 0);
    while let Some(at) = find(&text, "extern", from) {
        from = at + 1;
        let Some(end) = text[at..].iter().position(|b| *b == b';').map(|n| at + n + 1) else { break };
        let Some(shared) = find(&text[..end], "__shared__", at) else { continue };
        if text[at..shared].contains(&b'{') {
            continue;
        }
        let declared = std::str::from_utf8(&text[shared + "__shared__".len()..end - 1]).unwrap_or_default();
        let Some(pointer) = pointer(declared, inside_function(&text, at)) else { continue };
        out.push_str(source.get(done..at).unwrap_or_default());
        out.push_str(&pointer);
        // Lines keep their numbers.
        out.extend(source.get(at..end).unwrap_or_default().chars().filter(|c| *c == '\n'));
        done = end;
        from = end;
    }
    out.push_str(source.get(done..).unwrap_or_default());
    out
}

/// `__align__(16) float x[]` as a pointer: a constant where a launch has begun, a name for the host's own pointer elsewhere.
fn pointer(declared: &str, in_function: bool) -> Option<String> {
    let mut declared = declared.to_owned();
    for attribute in ["__align__", "alignas", "__attribute__"] {
        while let Some(at) = find(declared.as_bytes(), attribute, 0) {
            let open = at + declared[at..].find('(')?;
            let end = closing(declared.as_bytes(), open)?;
            declared.replace_range(at..end, " ");
        }
    }
    let (head, _) = declared.split_once('[')?;
    let head = head.trim_end();
    let name_at = head.rfind(|c: char| !is_word(c as u8)).map_or(0, |n| n + 1);
    let (kind, name) = (head[..name_at].trim(), &head[name_at..]);
    Some(if in_function {
        format!("{kind}* const {name} = ({kind}*)anychip_dynamic;")
    } else {
        format!("static {kind}*& {name} = *({kind}**)&anychip_dynamic;")
    })
}

/// The namespaces around this place.
fn namespaces(text: &[u8], at: usize) -> String {
    let mut open: Vec<Option<String>> = Vec::new();
    for (i, byte) in text[..at].iter().enumerate() {
        match byte {
            b'{' => open.push(namespace_before(&text[..i])),
            b'}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.into_iter().flatten().map(|name| name + "::").collect()
}

/// The name, where `namespace name` stands at the end.
fn namespace_before(text: &[u8]) -> Option<String> {
    let text = text.trim_ascii_end();
    let start = text.iter().rposition(|b| !is_word(*b) && *b != b':').map_or(0, |n| n + 1);
    let before = text[..start].trim_ascii_end();
    let keyword =
        before.ends_with(b"namespace") && !before.iter().rev().nth("namespace".len()).is_some_and(|b| is_word(*b));
    let name = std::str::from_utf8(&text[start..]).ok()?;
    (keyword && !name.is_empty()).then(|| name.to_owned())
}

/// Is this place inside of a function's braces?
fn inside_function(text: &[u8], at: usize) -> bool {
    let mut open = Vec::new();
    let mut last = b' ';
    for byte in &text[..at] {
        match byte {
            b'{' => open.push(last == b')'),
            b'}' => {
                open.pop();
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            last = *byte;
        }
    }
    open.contains(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_what_they_are() {
        let source = r#"
            // extern "C" __global__ void comment(int a) {}
            extern "C" __global__ void declared(int a);
            extern "C" __global__ void __launch_bounds__(WIDTH * 2, 1) first(float* __restrict__ x, int (*f)(int)) { }
            extern "C"
            __global__ void second() {}
            __global__ void mangled(int a) {}
            namespace outer { struct S { int x; }; namespace a::b {
            extern "C" __global__ void third() {}
            } }
        "#;
        let found = kernels(source);
        assert_eq!(
            found,
            [
                Kernel { name: "first".into(), within: "".into(), bound: "(WIDTH * 2)".into() },
                Kernel { name: "second".into(), within: "".into(), bound: "0".into() },
                Kernel { name: "third".into(), within: "outer::a::b::".into(), bound: "0".into() },
            ]
        );
    }

    #[test]
    fn dynamic_shared_memory_is_a_pointer() {
        let inside = with_dynamic_shared(
            "__global__ void k() {\n extern __shared__ __align__(16) unsigned char\n s[]; s[0] = 1; }",
        );
        assert_eq!(
            inside,
            "__global__ void k() {\n unsigned char* const s = (unsigned char*)anychip_dynamic;\n s[0] = 1; }"
        );
        let outside = with_dynamic_shared("extern __shared__ float s[];\nint a;");
        assert_eq!(outside, "static float*& s = *(float**)&anychip_dynamic;\nint a;");
        let other = "extern int a; extern \"C\" { void f() { __shared__ int b[4]; } }";
        assert_eq!(with_dynamic_shared(other), other);
    }
}
