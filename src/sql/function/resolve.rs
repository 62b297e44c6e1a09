//! Choosing a function or operator by its argument types (PostgreSQL 15 documentation 10.2 and 10.3;
//! `func_select_candidate` in parse_func.c is the reference for the order of the rules).

use crate::sql::binder::types::element_of;
use crate::sql::function::coercion::{binary_coercible, can_coerce};
use crate::sql::function::{FunctionRef, Kind, candidates};
use crate::types::{CastContext, SqlType};

/// A signature that argument types can be matched against.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Argument types after polymorphism and repetition are worked out.
    pub args: Vec<SqlType>,
    /// The same for choosing among candidates, where a pseudo-type (`Void` here) is no match for any type.
    pub declared: Vec<SqlType>,
    /// Result type.
    pub result: SqlType,
}

/// A function with the types it is used at.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The function.
    pub function: FunctionRef,
    /// The types its arguments must be cast to.
    pub signature: Signature,
}

/// Why no function was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 42883
    NoMatch,
    /// 42725
    Ambiguous,
}

/// Resolves a function call.
pub fn function(name: &str, args: &[SqlType]) -> Result<Resolved, Failure> {
    choose(candidates(false, name), args)
}

/// Resolves a unary or binary operator.
pub fn operator(symbol: &str, args: &[SqlType]) -> Result<Resolved, Failure> {
    let all = candidates(true, symbol);
    // With one side unknown, the operator whose both sides have the known type comes first.
    if let [left, right] = args {
        let known = if *left == SqlType::Unknown { *right } else { *left };
        let assumed =
            [if *left == SqlType::Unknown { known } else { *left }, if *right == SqlType::Unknown { known } else { *right }];
        if known != SqlType::Unknown
            && let Some(exact) = matching(all, &assumed).into_iter().find(|found| found.signature.declared == assumed)
        {
            return Ok(exact);
        }
    }
    choose(all, args)
}

fn choose(all: &[FunctionRef], args: &[SqlType]) -> Result<Resolved, Failure> {
    let matches = matching(all, args);
    if let Some(exact) = matches.iter().find(|found| found.signature.declared == args) {
        return Ok(exact.clone());
    }
    let signatures: Vec<Vec<SqlType>> = matches.iter().map(|found| found.signature.declared.clone()).collect();
    select(&signatures, args).map(|index| matches[index].clone())
}

/// The functions that could take these arguments with implicit casts.
fn matching(all: &[FunctionRef], args: &[SqlType]) -> Vec<Resolved> {
    let fits =
        |signature: &Signature| signature.args.iter().zip(args).all(|(&to, &from)| can_coerce(from, to, CastContext::Implicit));
    all.iter()
        .filter_map(|&function| {
            let entry = function.get();
            let signature = instantiate(entry.args, entry.variadic, entry.result, args)?;
            fits(&signature).then_some(Resolved { function, signature })
        })
        .collect()
}

/// Works out polymorphic and repeated arguments for actual types; `None` if the number of arguments is wrong or polymorphic
/// arguments disagree.
pub fn instantiate(declared: &[Kind], variadic: bool, result: Kind, actual: &[SqlType]) -> Option<Signature> {
    let count_fits = if variadic { actual.len() >= declared.len() } else { actual.len() == declared.len() };
    if !count_fits {
        return None;
    }
    let kind_at = |index: usize| declared[index.min(declared.len() - 1)];
    let mut element = None;
    for (index, &ty) in actual.iter().enumerate() {
        let found = match (kind_at(index), ty) {
            (Kind::Element | Kind::ArrayOfElement, SqlType::Unknown) => continue,
            (Kind::Element, ty) => ty,
            (Kind::ArrayOfElement, SqlType::Array(of)) => of.scalar(),
            (Kind::ArrayOfElement, _) | (Kind::NonArray, SqlType::Array(_)) => return None,
            _ => continue,
        };
        match element {
            None => element = Some(found),
            Some(known) if known == found || binary_coercible(found, known) => {}
            // Text and name, int4 and int8: the wider of the two, as anycompatible does.
            Some(known) if can_coerce(known, found, CastContext::Implicit) => element = Some(found),
            Some(known) if can_coerce(found, known, CastContext::Implicit) => {}
            Some(_) => return None,
        }
    }
    let polymorphic = declared.iter().any(|kind| matches!(kind, Kind::Element | Kind::ArrayOfElement));
    let element = if polymorphic { element.unwrap_or(SqlType::Text) } else { SqlType::Unknown };
    let concrete = |kind: Kind, actual: SqlType| -> Option<SqlType> {
        Some(match kind {
            Kind::Is(ty) => ty,
            Kind::Element => element,
            Kind::ArrayOfElement => SqlType::Array(element_of(element)?),
            Kind::Any | Kind::NonArray => actual,
        })
    };
    let args = actual.iter().enumerate().map(|(index, &ty)| concrete(kind_at(index), ty)).collect::<Option<Vec<_>>>()?;
    let declared = (0..actual.len()).map(|index| match kind_at(index) {
        Kind::Is(ty) => ty,
        _ => SqlType::Void,
    });
    Some(Signature { declared: declared.collect(), args, result: concrete(result, SqlType::Unknown)? })
}

/// Picks among signatures that all fit.
pub fn select(signatures: &[Vec<SqlType>], args: &[SqlType]) -> Result<usize, Failure> {
    let mut left: Vec<usize> = (0..signatures.len()).collect();
    match left.len() {
        0 => return Err(Failure::NoMatch),
        1 => return Ok(0),
        _ => {}
    }
    let known: Vec<usize> = (0..args.len()).filter(|&i| args[i] != SqlType::Unknown).collect();
    keep_best(&mut left, |candidate| known.iter().filter(|&&i| signatures[candidate][i] == args[i]).count());
    if let [one] = left[..] {
        return Ok(one);
    }
    keep_best(&mut left, |candidate| {
        let good = |i: usize| {
            let to = signatures[candidate][i];
            to == args[i] || to.category() == args[i].category() && to.preferred()
        };
        known.iter().filter(|&&i| good(i)).count()
    });
    if let [one] = left[..] {
        return Ok(one);
    }
    if known.len() == args.len() {
        return Err(Failure::Ambiguous);
    }
    by_unknown_categories(&mut left, signatures, args);
    if let [one] = left[..] {
        return Ok(one);
    }
    // All known arguments of one type: suppose that the unknown ones are of it too.
    if let Some(&first) = known.first()
        && known.iter().all(|&i| args[i] == args[first])
    {
        let supposed = args[first];
        let fitting: Vec<usize> = left
            .iter()
            .copied()
            .filter(|&candidate| {
                signatures[candidate].iter().all(|&to| to == SqlType::Void || can_coerce(supposed, to, CastContext::Implicit))
            })
            .collect();
        if let [one] = fitting[..] {
            return Ok(one);
        }
    }
    Err(Failure::Ambiguous)
}

/// Keeps the candidates with the highest score, all if nobody scores.
fn keep_best(left: &mut Vec<usize>, score: impl Fn(usize) -> usize) {
    let best = left.iter().map(|&candidate| score(candidate)).max().unwrap_or(0);
    left.retain(|&candidate| score(candidate) == best);
}

/// `pg_type.typcategory` of strings.
const STRING: char = 'S';

/// Rule 4.e of 10.2 (3.e of 10.3's steps for functions): unknown arguments prefer strings, or else the category that all
/// candidates agree on, and within it the preferred type.
fn by_unknown_categories(left: &mut Vec<usize>, signatures: &[Vec<SqlType>], args: &[SqlType]) {
    let mut wanted: Vec<Option<(char, bool)>> = vec![None; args.len()];
    for (i, slot) in wanted.iter_mut().enumerate() {
        if args[i] != SqlType::Unknown {
            continue;
        }
        let categories: Vec<char> = left.iter().map(|&candidate| signatures[candidate][i].category()).collect();
        let chosen = if categories.contains(&STRING) {
            STRING
        } else if categories.windows(2).all(|pair| pair[0] == pair[1]) {
            categories[0]
        } else {
            return;
        };
        let has_preferred = left.iter().any(|&candidate| {
            let to = signatures[candidate][i];
            to.category() == chosen && to.preferred()
        });
        *slot = Some((chosen, has_preferred));
    }
    let kept: Vec<usize> = left
        .iter()
        .copied()
        .filter(|&candidate| {
            wanted.iter().enumerate().all(|(i, want)| match want {
                None => true,
                Some((chosen, need_preferred)) => {
                    let to = signatures[candidate][i];
                    to.category() == *chosen && (!need_preferred || to.preferred())
                }
            })
        })
        .collect();
    if !kept.is_empty() {
        *left = kept;
    }
}
